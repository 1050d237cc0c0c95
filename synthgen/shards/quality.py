"""How much single samples are worth to a detector: a small file beside the shards, which themselves never change.

The scores are joined to samples by their ids. An HDF5 file with columns of equal length, rows in the order of the ids,

    /sample_id       text
    /quality         (N,) float32   0 (nothing to learn from it) to 1
    /loss_mean       (N,) float32   mean of the sample's losses over the training; NaN where there was none
    /loss_deviation  (N,) float32   their standard deviation; NaN where there was none
    /anomaly_loss    (N,) float32   the last loss over its anomalous pixels; NaN where there was none
    /seen            (N,) uint32    how often the training saw it

and the attributes of `_ATTRIBUTES`; then the same trailer as behind a shard, so that any changed byte is noticed. The bytes
depend on the scores alone: no time, no place, no order in which they came.
"""

import contextlib
import hashlib
import io
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from synthgen.errors import InputDataError, IntegrityError, UsageError
from synthgen.files import storage_error, temporary_name
from synthgen.shards.columns import read_attribute, texts, write_attribute, write_column
from synthgen.shards.layout import LIBVER, TEXT, TRAILER_BYTES, TRAILER_MAGIC
from synthgen.shards.schema import HDF5_ERRORS, check_links, read_column
from synthgen.shards.storage import publish, seal

FORMAT = "synthgen-quality"
VERSION = 1
SCORED = "scored_config_sha256"
"""In `config_json`, of the shards whose samples were scored: their `config_sha256`, each once."""

_NUMBERS = {"quality": "<f4", "loss_mean": "<f4", "loss_deviation": "<f4", "anomaly_loss": "<f4", "seen": "<u4"}
_ATTRIBUTES = {
    **dict.fromkeys(("format", "made_by", "config_json", "shards_sha256"), str),
    **dict.fromkeys(("format_version", "n"), int),
}
_MAX_BYTES = 1 << 28
_WAY_OUT = "`detectors score-samples RUN --shards DIR` writes one."


@dataclass(frozen=True, slots=True, eq=False)
class QualityTable:
    """The scores of N samples.

    Attributes:
        sample_id: their ids, each once.
        quality: (N,) float32, 0 to 1; higher is better to learn from.
        loss_mean: (N,) float32, mean of the sample's losses over the training; NaN where there was none.
        loss_deviation: (N,) float32, standard deviation of these losses; NaN where there was none.
        anomaly_loss: (N,) float32, the last loss over the sample's anomalous pixels; NaN where there was none.
        seen: (N,) uint32, how often the training saw the sample.
        made_by: what gave the scores, such as `"bisqad 0a1b2c3d4e5f"`, with the start of its settings' digest.
        config_json: the configuration of the training, as JSON.
        shards_sha256: `shards_digest` of the dataset whose samples these are.

    Raises:
        ValueError: a column has another type or length, a quality is not within 0..1, or an id is there twice.
    """

    sample_id: tuple[str, ...]
    quality: NDArray[np.float32]
    loss_mean: NDArray[np.float32]
    loss_deviation: NDArray[np.float32]
    anomaly_loss: NDArray[np.float32]
    seen: NDArray[np.uint32]
    made_by: str
    config_json: str
    shards_sha256: str

    def __post_init__(self) -> None:
        for name, kind in _NUMBERS.items():
            column = getattr(self, name)
            if column.dtype != np.dtype(kind) or column.shape != (len(self),):
                raise ValueError(f"{name} is {column.dtype} {column.shape}, not {np.dtype(kind)} {(len(self),)}")
        if not ((self.quality >= 0) & (self.quality <= 1)).all():
            raise ValueError("a quality is not within 0..1")
        if len(set(self.sample_id)) != len(self):
            raise ValueError("a sample is there twice")

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.sample_id)

    @property
    def configs(self) -> frozenset[str]:
        """`config_sha256` of the shards whose samples these are, as far as `config_json` says."""
        try:
            return frozenset(json.loads(self.config_json)[SCORED])
        except (ValueError, KeyError, TypeError):
            return frozenset()

    def by_id(self) -> dict[str, float]:
        """The quality of each sample."""
        return dict(zip(self.sample_id, self.quality.tolist(), strict=True))


@dataclass(frozen=True, slots=True)
class QualityLimit:
    """Below which quality a build leaves samples out; those without a score stay.

    Attributes:
        minimum: lowest quality to keep, 0 to 1.
        sha256: of the file of scores.
        below: ids of the samples that it scores lower.
        known: ids of all samples that it scores.
        configs: `config_sha256` of the shards whose samples it scores; empty where it does not say.
    """

    minimum: float
    sha256: str
    below: frozenset[str]
    known: frozenset[str] = frozenset()
    configs: frozenset[str] = frozenset()

    @classmethod
    def read(cls, path: Path, minimum: float) -> "QualityLimit":
        """The limit by the scores in a file.

        Raises:
            UsageError: `minimum` is not within 0..1.
            InputDataError, IntegrityError: as `read_quality`.
        """
        if not 0 <= minimum <= 1:
            raise UsageError(f"--min-quality {minimum:g}: a quality is a number from 0 to 1.")
        data = _bytes_of(path)
        table = _parsed(path, data)
        # as float32, like the scores: a sample that was scored 0.4 is not below 0.4
        low = np.flatnonzero(table.quality < np.float32(minimum))
        below, known = frozenset(table.sample_id[k] for k in low), frozenset(table.sample_id)
        return cls(minimum, hashlib.sha256(data).hexdigest(), below, known, table.configs)


def shards_digest(content_sha256: Iterable[str]) -> str:
    """What identifies the samples of some shards, whatever the order and names of the files.

    Args:
        content_sha256: of each shard, as in `ShardDataset.contents`.
    """
    return hashlib.sha256("\n".join(sorted(content_sha256)).encode()).hexdigest()


def write_quality(path: Path | str, table: QualityTable) -> None:
    """Writes a file of scores: there as a whole or not at all; one that is there already is replaced.

    Raises:
        StorageError: it cannot be written.
    """
    path = Path(path)
    temporary, data = temporary_name(path), _hdf5(table)
    try:
        temporary.write_bytes(data)
        seal(temporary)
        publish(temporary, path)
    except OSError as error:
        raise storage_error(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def read_quality(path: Path | str) -> QualityTable:
    """Reads a file of scores, and checks every byte of it.

    Raises:
        InputDataError: there is no such file, or it cannot be read.
        IntegrityError: it is damaged, or no file of scores.
    """
    path = Path(path)
    return _parsed(path, _bytes_of(path))


def _hdf5(table: QualityTable) -> bytes:
    order = sorted(range(len(table)), key=table.sample_id.__getitem__)
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", libver=LIBVER) as file:
        write_column(file, "sample_id", TEXT, [table.sample_id[k] for k in order])
        for name, kind in _NUMBERS.items():
            write_column(file, name, kind, getattr(table, name)[order])
        facts = {"format": FORMAT, "format_version": VERSION, "n": len(table)}
        facts |= {name: getattr(table, name) for name in ("made_by", "config_json", "shards_sha256")}
        for name in sorted(facts):
            write_attribute(file, name, facts[name])
    return buffer.getvalue()


def _bytes_of(path: Path) -> bytes:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise _damaged(path, f"it has more than {_MAX_BYTES >> 20} MiB")
        return path.read_bytes()
    except FileNotFoundError as error:
        raise InputDataError(f"{path}: there is no such file of quality scores. {_WAY_OUT}") from error
    except OSError as error:
        raise InputDataError(f"{path}: cannot be read ({error.strerror or error}). Give a file of quality scores.") from error


def _parsed(path: Path, data: bytes) -> QualityTable:
    """The table in a file's bytes; HDF5 sees them only if they are those that were written."""
    body = memoryview(data)[:-TRAILER_BYTES]
    if data[len(body) :] != TRAILER_MAGIC + hashlib.sha256(body).hexdigest().encode() + b"\n":
        raise _damaged(path, "its bytes are not those that were written")
    try:
        with h5py.File(io.BytesIO(data), "r") as file:
            return _table(file)
    except HDF5_ERRORS as error:
        raise _damaged(path, " ".join(str(error).split()) or type(error).__name__) from error


def _table(file: h5py.File) -> QualityTable:
    """The table, of a file with the structure that `write_quality` gives it and no other; else one of `HDF5_ERRORS`."""
    if set(file.attrs) != set(_ATTRIBUTES):
        raise ValueError(f"its attributes are not those of a {FORMAT}")
    facts = {name: read_attribute(file, name, kind) for name, kind in _ATTRIBUTES.items()}
    if (form := facts.pop("format")) != FORMAT:
        raise ValueError(f"its format is {form!r}")
    if (version := facts.pop("format_version")) != VERSION:
        raise ValueError(f"it has version {version}, this program reads {VERSION}")
    check_links(file, {"sample_id", *_NUMBERS})
    n = facts.pop("n")
    values: dict[str, Any] = {name: read_column(file, name, kind, n) for name, kind in _NUMBERS.items()}
    return QualityTable(tuple(texts(read_column(file, "sample_id", TEXT, n))), **values, **facts)


def _damaged(path: Path, reason: str) -> IntegrityError:
    return IntegrityError(f"{path}: not a whole file of quality scores: {reason}. {_WAY_OUT}")
