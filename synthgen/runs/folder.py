"""A training's folder: what it was asked for, its checkpoints, its log and its model; what was trained is never lost.

config.json  what was asked for, resolved        checkpoint.safetensors  the state of an unfinished training
log.jsonl    one line per epoch or report        model.safetensors       what came of it

Files of tensors are sealed: their header holds the SHA-256 of what they say.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from synthgen.errors import IntegrityError, StorageError, UsageError
from synthgen.files import differences, read_json, storage_error, whole_file, write_json, write_text

VERSION = 1
CONFIG, LOG = "config.json", "log.jsonl"
CHECKPOINT, MODEL = "checkpoint.safetensors", "model.safetensors"
WAY_OUT = "Remove the folder, and train again."
"""What to do about a run's file that is damaged."""
_SEALED = "sealed"
"""The one entry of a file's metadata (several have no order that is sure): seal and state. Before there were seals: `state`."""
_MAY_CHANGE = ("weights", "device", "root", "shards", "versions")  # where things lie, not what they are


class RunFolder:
    """A run's folder while it is trained; a context manager that keeps a second training out.

    Args:
        path: where it is; made if need be.
        config: what is trained, JSON types: another one in the same folder is refused.
        format: what kind of run it is, as its configuration says.

    Raises:
        UsageError: on entering, if another configuration was trained there, or somebody is training there.
        StorageError: the folder cannot be written.
    """

    def __init__(self, path: Path, config: dict[str, Any], format: str = "detectors-run") -> None:
        self.path = path
        self._config = {"format": format, "format_version": VERSION, **config}
        self._lock = -1

    def __enter__(self) -> "RunFolder":
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self.path / ".lock", os.O_CREAT | os.O_RDWR, 0o644)
        except OSError as error:
            raise storage_error(self.path, error) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            raise UsageError(
                f"{self.path}: another training is at work there. Wait for it, or choose another --out."
            ) from error
        try:
            self._claim()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._lock)

    def _claim(self) -> None:
        path = self.path / CONFIG
        if not path.exists():
            if any(entry.name != ".lock" and not entry.name.startswith(".tmp-") for entry in self.path.iterdir()):
                raise UsageError(f"{self.path}: the folder is not empty and is no run. Choose another --out.")
            write_json(path, self._config)
            return
        _refuse(self.path, read_json(path, WAY_OUT), self._config)

    @staticmethod
    def look(path: Path, facts: dict[str, Any]) -> bool:
        """Whether what these facts describe was trained there to its end already; before all of the configuration is known.

        Raises:
            UsageError: something else was trained there, as far as these facts tell.
        """
        if not (path / CONFIG).is_file():
            return False
        before = read_json(path / CONFIG, WAY_OUT)
        _refuse(path, {name: before.get(name) for name in facts}, facts)
        return (path / MODEL).is_file()

    @property
    def finished(self) -> bool:
        """Whether the training came to its end."""
        return (self.path / MODEL).is_file()

    def write(self, name: str, values: dict[str, Any]) -> None:
        """Write one of the JSON files."""
        write_json(self.path / name, values)

    def save(self, name: str, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        """Write tensors and what belongs to them, as a whole or not at all.

        Raises:
            StorageError: the device fails or is full.
        """
        save_tensors(self.path / name, tensors, state)

    def load(self, name: str) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """What `save` wrote; None if it never did."""
        return load_tensors(self.path / name) if (self.path / name).is_file() else None

    def log(self, record: dict[str, Any]) -> None:
        """Add a line to the log."""
        try:
            with (self.path / LOG).open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(record, sort_keys=True) + "\n")
        except OSError as error:
            raise storage_error(self.path / LOG, error) from error

    def cut_log(self, first: int, unit: str = "epoch") -> None:
        """Drop what was logged after the checkpoint that a training resumes from: from epoch (or step) `first` on."""
        path = self.path / LOG
        if not path.is_file():
            return
        kept = []
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            with contextlib.suppress(ValueError, TypeError, KeyError):  # a line that was cut off by a kill
                if json.loads(line)[unit] < first:
                    kept.append(line + "\n")
        write_text(path, "".join(kept))


def save_tensors(path: Path, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """Write a safetensors file with `state` as JSON in its header, as a whole or not at all.

    Raises:
        StorageError: the device fails or is full.
    """
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    text = json.dumps(state, sort_keys=True)
    try:
        with whole_file(path) as temporary:
            temporary.touch()  # with the permissions that the user's files have; safetensors gives its own to nobody else
            mode = temporary.stat().st_mode
            save_file(plain, temporary, metadata={_SEALED: f"{_seal(plain, text)} {text}"})
            temporary.chmod(mode)
    except SafetensorError as error:
        raise StorageError(f"{path}: cannot be written: {error}.") from error


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the state in a file that `save_tensors` wrote.

    A file of before seals is read with a `RuntimeWarning`.

    Raises:
        IntegrityError: it is damaged. It is never unpickled.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a dictionary
        is_sealed = set(metadata) == {_SEALED}
        seal, _, text = metadata[_SEALED].partition(" ") if is_sealed else ("", "", metadata["state"])
        state = json.loads(text)
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise IntegrityError(f"{path}: damaged ({error}). Remove it, and train again.") from error
    if not is_sealed and set(metadata) == {"state"}:
        warnings.warn(
            f"{path}: was written before files were sealed: damage in it would go unnoticed.", RuntimeWarning, stacklevel=2
        )
    elif seal != _seal(tensors, text):
        raise IntegrityError(f"{path}: damaged: its content does not match its SHA-256. Remove it, and train again.")
    return tensors, state


def _seal(tensors: Mapping[str, Tensor], text: str) -> str:
    """Hexadecimal SHA-256 of contiguous tensors on the CPU, their names, types and shapes, and a text."""
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def pack_optimizer(optimizer: torch.optim.Optimizer, prefix: str) -> dict[str, Tensor]:
    """The state of an optimizer as named tensors."""
    return {
        f"{prefix}.{number}.{name}": value
        for number, state in optimizer.state_dict()["state"].items()
        for name, value in state.items()
    }


def unpack_optimizer(optimizer: torch.optim.Optimizer, prefix: str, tensors: Mapping[str, Tensor]) -> None:
    """Put back what `pack_optimizer` took."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith(prefix + "."):
            number, _, name = key[len(prefix) + 1 :].partition(".")
            state.setdefault(int(number), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    # files hold tensors in plain order; a fused step takes a parameter and its moments as lying in memory alike
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            for name, value in optimizer.state[parameter].items():
                if value.shape == parameter.shape:
                    optimizer.state[parameter][name] = torch.empty_like(parameter).copy_(value)


def below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with a prefix, without it."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


class Board:
    """What TensorBoard's writer takes, for where there is none."""

    def add_scalar(self, name: str, value: float, step: int) -> None:
        """A number of a step."""

    def add_image(self, name: str, picture: NDArray[np.uint8], step: int, dataformats: str) -> None:
        """A (H, W, 3) uint8 RGB picture of a step."""


@contextlib.contextmanager
def board(path: Path, enabled: bool = True) -> Iterator[Board]:
    """TensorBoard's writer, where it is installed; events lie beside the run's log."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        enabled = False
    if not enabled:
        yield Board()
        return
    writer: Any = SummaryWriter(str(path / "tensorboard"))
    try:
        yield writer
    finally:
        writer.close()


def _refuse(path: Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    if changed := differences(_what(before), _what(now)):
        raise UsageError(f"{path}: something else was trained there:\n  " + "\n  ".join(changed) + "\nChoose another --out.")


def _what(config: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key not in _MAY_CHANGE}
