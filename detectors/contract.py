"""What every detector offers: settings, a network, what it prepares of its data, and how it is trained.

A detector is one `Detector`: a value whose parts are plain functions. Commands know no detector by name; they find them by
entry point (`detectors.catalog`) and call these parts. docs/new-detector.md shows a whole one.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, Protocol, TypeAlias, TypeVar

from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from detectors.data.backbones import Backbone, BackboneChoice
from detectors.data.feature_cache import Where
from detectors.data.held_out import HeldOutImage
from detectors.data.preprocessing import Preprocessing
from detectors.data.training_data import OnTheFly, TrainingData
from synthgen.edges.pipeline import EdgeAssets
from synthgen.runs.devices import Compute
from synthgen.runs.folder import RunFolder
from synthgen.samples import Image
from synthgen.shards.quality import QualityTable
from synthgen.training.loop import OnUnit

MeasureTest: TypeAlias = Callable[[], dict[str, float]]
"""Measures the test split with the detector as it is now, for `test-best` alone; `detectors eval` does it otherwise."""


class DetectorSettings(BaseModel):
    """What a user may set, whatever the detector; each adds its own. All are stored with a run.

    Attributes:
        size: side of the square that the network sees, or (height, width), in pixels.
        epochs: passes over the training images.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: int | tuple[int, int]
    epochs: int

    @property
    def resized(self) -> int | tuple[int, int]:
        """What an image is resized to before its centre is cropped to `size`; nothing is cropped unless a detector says so."""
        return self.size


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingOptions:
    """How to train, whatever the detector.

    Attributes:
        compute: device and precision.
        seed: of initialisation and order.
        selection: `last` epoch; `val`: the epoch that is best on held-out images; `test-best`: on the test split.
        evaluate_every: epochs between evaluations; 0 for about twenty in all.
        cache: where features are kept.
        edge_generator: draws edge edits, where a detector learns from some; its file or its training's folder.
        pidinet: weights of the network that finds edges; None for edges that need none.
        sam: weights of the network that finds regions; None for regions between edges.
        tensorboard: whether to write its events.
    """

    compute: Compute
    seed: int = 0
    selection: str = "last"
    evaluate_every: int = 0
    cache: Where = "auto"
    edge_generator: Path | None = None
    pidinet: Path | None = None
    sam: Path | None = None
    tensorboard: bool = True

    @property
    def edge_assets(self) -> EdgeAssets | None:
        """What edge edits are made with; None without a generator."""
        if self.edge_generator is None:
            return None
        return EdgeAssets(self.edge_generator, self.pidinet, self.sam, str(self.compute.device))


class PreparedData(Protocol):
    """What a detector prepares of its training data, of which others need to know the held-out images alone."""

    @property
    def images(self) -> tuple[HeldOutImage, ...]:
        """The held-out images and the anomalies made of them."""


S = TypeVar("S", bound=DetectorSettings)
M = TypeVar("M", bound=nn.Module)
D = TypeVar("D", bound=PreparedData)


def no_warnings(settings: DetectorSettings, data: TrainingData, options: TrainingOptions) -> list[str]:
    """There is nothing that a user should know before a training."""
    return []


def nothing_between(model: nn.Module, image: Image) -> Mapping[str, Image]:
    """There is nothing to look at between an image and its anomaly map."""
    return {}


@dataclass(frozen=True, kw_only=True)
class Detector(Generic[S, M, D]):
    """A detector, of settings S, a network M, and prepared training data D.

    The network takes (B, 3, H, W) float RGB images of values 0 to 255, of the size that the settings say, and gives anomaly
    maps (B, H, W) and image scores (B,), float, larger is more anomalous.

    Attributes:
        name: what commands call it, and what its entry point is called.
        title: its full name.
        source: the paper.
        presets: names of the sets of settings it comes with, the default first.
        settings: the model of its settings.
        configure: (preset, dataset, category, changes) -> settings. Raises UsageError, with the setting's name, where a
            change makes no sense.
        variant: in a word, how a run's anomalies come about: a column of comparisons.
        assemble: (settings, backbone, compute) -> an untrained network on its device, in evaluation mode.
        load_state: the network takes over the tensors of a run's model file. Raises RuntimeError if they are another's.
        prepare: (network, data, options, folder for files) -> a context that gives the prepared data, for all seeds.
        train: (network, prepared, run, options, on_epoch, measure_test) trains from the run's checkpoint, or from first
            weights by the options' seed, and writes the run's model; `detectors.training.loop.train_epochs` does it.
        backbone: which frozen network it looks through; None for none.
        learns: anomalies made of the training images that it learns from unless told otherwise; None where it makes its own.
        looks_at_edges: whether it learns edges of images: weights of networks that find these are for it.
        ablations: settings of each run of `--ablation`, by name.
        warnings: what a user should know before a training.
        explained: pictures of what lies between an image and its map, by name: (H, W, 3) uint8 RGB.
        score_samples: (network, run folder, preprocessing, shards, compute) -> what samples are worth; None if it cannot say.
    """

    name: str
    title: str
    source: str
    presets: tuple[str, ...]
    settings: type[S]
    configure: Callable[[str, str, str, Mapping[str, object]], S]
    variant: Callable[[S], str]
    assemble: Callable[[S, Backbone | None, Compute], M]
    load_state: Callable[[M, Mapping[str, Tensor]], object]
    prepare: Callable[[M, TrainingData, TrainingOptions, Path], AbstractContextManager[D]]
    train: Callable[[M, D, RunFolder, TrainingOptions, OnUnit, MeasureTest | None], None]
    backbone: Callable[[S], BackboneChoice] | None = None
    learns: OnTheFly | None = None
    looks_at_edges: bool = False
    ablations: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    warnings: Callable[[S, TrainingData, TrainingOptions], list[str]] = no_warnings
    explained: Callable[[M, Image], Mapping[str, Image]] = nothing_between
    score_samples: Callable[[M, Path, Preprocessing, Path, Compute], QualityTable] | None = None

    def parse(self, stored: Mapping[str, object]) -> S:
        """The settings that a run's configuration holds. Raises ValueError if they are not this detector's."""
        return self.settings.model_validate(stored)

    def backbone_of(self, settings: S) -> BackboneChoice | None:
        """The frozen network that it looks through with these settings, if any."""
        return None if self.backbone is None else self.backbone(settings)


AnyDetector: TypeAlias = Detector[DetectorSettings, nn.Module, PreparedData]
"""A detector whose types nobody knows: it is given only what it made itself."""
