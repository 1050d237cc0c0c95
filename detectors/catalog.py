"""The detectors there are. Each is a package whose module `detector` has what commands need:

LEARNS                                          anomalies made of the training images that it learns from unless told
                                                otherwise (`OnTheFly`); None where it makes its own
variant(settings)                               in a word, how a run's anomalies come about: a column of comparisons
warnings(config, data, options)                 what a user should know before a training
ABLATION                                        settings of each run of `--ablation`, by name; empty for none
make_config(preset, dataset, category, changes) its settings: at least size, resized and epochs; with backbone and levels
                                                where it looks through a frozen network
parse(settings)                                 settings of a run's configuration
assemble(config, backbone, compute)             an untrained detector on its device, (B, 3, H, W) RGB 0..255 -> maps, scores
load_state(model, tensors)                      takes over what a run's model file holds
prepared(model, data, compute, options, folder) a context: the training data, whose `images` are the held-out ones
train(model, prepared, run, options, watch, peek)
explained(model, image)                         pictures of what lies between an image and its map, by name; may be empty
"""

from dataclasses import dataclass
from importlib import import_module
from typing import Any

from synthgen.errors import UsageError, suggest


@dataclass(frozen=True, slots=True)
class DetectorInfo:
    """One detector.

    Attributes:
        name: what commands call it.
        title, source: its full name, and the paper.
        presets: the sets of settings it comes with, the default first.
    """

    name: str
    title: str
    source: str
    presets: tuple[str, ...]


DETECTORS = {
    info.name: info
    for info in (
        DetectorInfo(
            "pbas",
            "Progressive Boundary-guided Anomaly Synthesis",
            "Chen et al., 2024",
            ("reference", "paper"),
        ),
        DetectorInfo(
            "bisqad",
            "Bi-level Synthesis Quality-guided Anomaly Detection",
            "MaPhC2F/BiSQAD, 2025",
            ("lite", "full", "paper"),
        ),
        DetectorInfo(
            "logical",
            "LogicAL: reconstruction and localization of edge-manipulated anomalies",
            "Zhao, 2024",
            ("paper", "medium", "small", "cpu"),
        ),
    )
}


def implementation(name: str) -> Any:
    """The module `detector` of a detector; it imports PyTorch. Raises UsageError if there is none of that name."""
    return import_module(f"detectors.{detector_info(name).name}.detector")


def detector_info(name: str) -> DetectorInfo:
    """What is known about a detector.

    Raises:
        UsageError: there is none of that name.
    """
    if name not in DETECTORS:
        raise UsageError(f"{name}: there is no such detector.{suggest(name, list(DETECTORS))}")
    return DETECTORS[name]
