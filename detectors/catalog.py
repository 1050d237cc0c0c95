"""The detectors there are."""

from dataclasses import dataclass

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
    )
}


def detector_info(name: str) -> DetectorInfo:
    """What is known about a detector.

    Raises:
        UsageError: there is none of that name.
    """
    if name not in DETECTORS:
        raise UsageError(f"{name}: there is no such detector.{suggest(name, list(DETECTORS))}")
    return DETECTORS[name]
