"""A trained refinement network as a file: weights, and everything that must fit when it is used."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from synthgen.errors import InputDataError, IntegrityError, UsageError
from synthgen.files import file_sha256
from synthgen.refine.config import NPCFPP, NpcfConfig, NpcfppConfig, checked, config_from_json
from synthgen.refine.stages import make_network
from synthgen.runs.devices import settle
from synthgen.runs.folder import MODEL, load_tensors, save_tensors
from synthgen.samples import Size

FORMAT = "synthgen-refinement"
VERSION = 1


@dataclass(frozen=True, slots=True)
class RefinementCard:
    """What a network was trained on.

    Attributes:
        model: `npcf` or `npcf++`.
        config: how it is built and was trained.
        size: (height, width) of the samples in pixels.
        dataset: name of the dataset.
        categories, types: names of what it has seen.
        licence: of the dataset's images, which the weights derive from.
        styles: how its anomalies were drawn, `realistic` or `paper`.
        encoder_sha256: of the weights that its encoder began with; empty where it had none.
        coarse_sha256: of npcf++, the file of the npcf whose pictures it refines; else empty.
        measured: what held-out samples said at the end.
    """

    model: str
    config: NpcfConfig | NpcfppConfig
    size: Size
    dataset: str
    categories: tuple[str, ...]
    types: tuple[str, ...]
    styles: tuple[str, ...]
    licence: str
    encoder_sha256: str
    coarse_sha256: str
    measured: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON types."""
        plain = {name: list(getattr(self, name)) for name in ("size", "categories", "types", "styles")}
        facts = {"format": FORMAT, "format_version": VERSION, "channels": 3}
        return asdict(self) | plain | {"config": self.config.to_json()} | facts

    @property
    def scale(self) -> float:
        """Pixels per pixel of a 512-pixel image."""
        return min(self.size) / 512


@dataclass(frozen=True)
class Refinement:
    """A trained network, ready to use.

    Attributes:
        card: what it is.
        network: in evaluation mode.
        device: where it is.
        path: its file.
        sha256: of its file.
    """

    card: RefinementCard
    network: torch.nn.Module
    device: torch.device
    path: Path
    sha256: str


def save_refinement(path: Path, weights: dict[str, Tensor], card: RefinementCard) -> None:
    """Write a model file, as a whole or not at all."""
    save_tensors(path, weights, card.to_json())


def model_file(path: Path, model: str) -> Path:
    """The model file that is meant: itself, or that in a training's folder. Raises InputDataError if there is none."""
    file = path / MODEL if path.is_dir() else path
    if not file.is_file():
        raise InputDataError(
            f"{option_of(model)} {path}: there is no trained {model}. `synthgen train {model}` makes one; "
            "if its training was interrupted, run the same command again."
        )
    return file


def option_of(model: str) -> str:
    """The option that takes such a model."""
    return "--npcfpp" if model == NPCFPP else "--npcf"


def read_card(path: Path, model: str) -> RefinementCard:
    """What a model file says about itself; see `load_refinement`."""
    return _read(path, model)[1]


def load_refinement(path: Path, model: str, device: str = "cpu") -> Refinement:
    """A network from its file, or from the folder of its training.

    Args:
        path: file or folder.
        model: `npcf` or `npcf++`, whichever it must be.
        device: where it shall be.

    Raises:
        InputDataError: there is none.
        IntegrityError: it is damaged, or another kind of model.
        UsageError: there is no such device here.
    """
    tensors, card = _read(path, model)
    network = make_network(card.config)
    file = model_file(path, model)
    if not all(torch.isfinite(value).all() for value in tensors.values()):
        raise IntegrityError(f"{file}: has weights that are no numbers. Train it again.")
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise IntegrityError(f"{file}: its weights are not those of the {model} it says it is. Train it again.") from error
    return Refinement(card, network, settle(network, device), file, file_sha256(file))


def _read(path: Path, model: str) -> tuple[dict[str, Tensor], RefinementCard]:
    file = model_file(path, model)
    option = option_of(model)
    if file.suffix != ".safetensors":
        raise InputDataError(f"{option} {file}: not a model, which is a .safetensors file or the folder of a training.")
    tensors, facts = load_tensors(file)
    if facts.get("format") != FORMAT or facts.get("format_version") != VERSION:
        raise IntegrityError(f"{file}: not a refinement network of this version, but {facts.get('format', 'something else')}.")
    if facts.get("model") != model:
        raise UsageError(f"{option} {path}: is {facts.get('model')}, not {model}.")
    if facts.get("channels") != 3:
        raise IntegrityError(f"{file}: refines pictures of {facts.get('channels')} channels; samples have 3. Train it again.")
    try:
        card = RefinementCard(
            config=checked(config_from_json(model, facts["config"])),
            size=(int(facts["size"][0]), int(facts["size"][1])),
            categories=tuple(facts["categories"]),
            types=tuple(facts["types"]),
            styles=tuple(facts["styles"]),
            **{name: facts[name] for name in ("model", "dataset", "licence", "encoder_sha256", "coarse_sha256", "measured")},
        )
    except (KeyError, TypeError, ValueError, UsageError) as error:
        raise IntegrityError(f"{file}: does not say all that a {model} has to ({error}). Train it again.") from error
    return tensors, card
