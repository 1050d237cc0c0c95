"""A trained edge-to-image generator as a file: weights, and everything that must fit when it is used."""

from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from synthgen.edges.config import GeneratorConfig
from synthgen.edges.detector import POLARITY
from synthgen.edges.generator import Generator
from synthgen.errors import InputDataError, IntegrityError
from synthgen.runs.devices import exactly, settle
from synthgen.runs.folder import MODEL, load_tensors, save_tensors
from synthgen.runs.pictures import to_pictures
from synthgen.samples import Image, Size

FORMAT = "synthgen-edge-generator"
VERSION = 1


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What a generator was trained on.

    Attributes:
        config: how it is built and was trained.
        dataset: name of the dataset.
        categories: names of the categories.
        licence: of the dataset's images, which the weights derive from.
        edges: name of the edge detector.
        edges_sha256: of its weights; empty where it has none.
        edges_licence: what its weights may be used for; empty where nothing is to be said.
        measured: what held-out pictures said at the end: `l1` (0..1) and `ssim`.
    """

    config: GeneratorConfig
    dataset: str
    categories: tuple[str, ...]
    licence: str
    edges: str
    edges_sha256: str
    edges_licence: str
    measured: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON types."""
        facts = {"format": FORMAT, "format_version": VERSION, "polarity": POLARITY}
        return asdict(self) | {"config": self.config.to_json(), "categories": list(self.categories)} | facts


@dataclass(frozen=True)
class EdgeGenerator:
    """A generator that draws pictures.

    Attributes:
        card: what it is.
        network: its network, in evaluation mode.
        device: where it is.
    """

    card: ModelCard
    network: Generator
    device: torch.device

    @property
    def size(self) -> Size:
        """(height, width) of its pictures."""
        return self.card.config.size

    @cached_property
    def batch(self) -> int:
        """Pictures of one pass: on a CPU one, on a GPU as many as fill it, always the same number."""
        return 1 if self.device.type == "cpu" else 8

    def draw(self, edges: list[NDArray[np.float32]]) -> list[Image]:
        """The pictures of some edge maps.

        Each depends on its own map alone: passes have a fixed number of pictures, filled up where there are fewer, since
        a GPU may round differently for another number.

        Args:
            edges: (h, w) float32 in [0, 1], 1 where there is no edge, of the generator's size.

        Returns:
            (h, w, 3) uint8 RGB of each.
        """
        pictures: list[Image] = []
        for start in range(0, len(edges), self.batch):
            maps = np.stack(edges[start : start + self.batch])
            filled = np.concatenate([maps, np.ones((self.batch - len(maps), *maps.shape[1:]), np.float32)])
            with (
                exactly(),
                torch.inference_mode(),
                torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type != "cpu"),
            ):
                drawn = self.network(to_condition(torch.from_numpy(filled)).to(self.device))
            pictures += list(to_pictures(drawn)[: len(maps)])
        return pictures


def to_condition(edges: Tensor) -> Tensor:
    """(B, h, w) float32 in [0, 1] edge maps as the generator takes them: (B, 1, h, w) in [-1, 1]."""
    return edges[:, None] * 2 - 1


def save_generator(path: Path, weights: dict[str, Tensor], card: ModelCard) -> None:
    """Write a model file, as a whole or not at all."""
    save_tensors(path, weights, card.to_json())


def read_card(path: Path) -> ModelCard:
    """What a model file says about itself; see `load_generator`."""
    return _read(path)[1]


def load_generator(path: Path, device: str = "cpu") -> EdgeGenerator:
    """A generator from its file, or from the folder of its training.

    Raises:
        InputDataError: there is none.
        IntegrityError: it is damaged, another kind of model, or was made for another kind of edge maps.
        UsageError: there is no such device here.
    """
    tensors, card = _read(path)
    network = Generator(1, card.config.width, card.config.halvings, card.config.blocks)
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise IntegrityError(f"{path}: its weights are not those of the generator it says it is. Train it again.") from error
    place = settle(network, device)
    return EdgeGenerator(card, network, place)


def model_file(path: Path) -> Path:
    """The model file that is meant: itself, or that in a training's folder. Raises InputDataError if there is none."""
    file = path / MODEL if path.is_dir() else path
    if not file.is_file():
        raise InputDataError(
            f"--edge-generator {path}: there is no trained generator. `synthgen train edge-generator` makes one; "
            "if its training was interrupted, run the same command again."
        )
    return file


def _read(path: Path) -> tuple[dict[str, Tensor], ModelCard]:
    file = model_file(path)
    if file.suffix != ".safetensors":
        raise InputDataError(
            f"--edge-generator {file}: not a generator, which is a .safetensors file or the folder of a training."
        )
    tensors, facts = load_tensors(file)
    if facts.get("format") != FORMAT or facts.get("format_version") != VERSION:
        raise IntegrityError(
            f"{file}: not an edge-to-image generator of this version, but {facts.get('format', 'something else')}."
        )
    if facts.get("polarity") != POLARITY:
        raise IntegrityError(
            f"{file}: draws from edge maps of polarity {facts.get('polarity')!r}, edits need {POLARITY!r}. Train it again."
        )
    try:
        texts = {name: facts[name] for name in ("dataset", "licence", "edges", "edges_sha256", "edges_licence", "measured")}
        config = GeneratorConfig.from_json(facts["config"])
        return tensors, ModelCard(config=config, categories=tuple(facts["categories"]), **texts)
    except (KeyError, TypeError) as error:
        raise IntegrityError(f"{file}: does not say all that a generator has to ({error}). Train it again.") from error
