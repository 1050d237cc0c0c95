"""The detectors there are, found by entry point: those that come along, and those of other packages (docs/new-detector.md)."""

from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING

from synthgen.errors import UsageError, suggest, to_install

if TYPE_CHECKING:
    from detectors.contract import AnyDetector

GROUP = "synthgen.detectors"
"""The entry points that bring detectors."""


def detector_names() -> list[str]:
    """What the detectors are called; none of them is loaded."""
    return sorted(entry_points(group=GROUP).names)


def find_detector(name: str) -> "AnyDetector":
    """The detector of a name; loads it, and with it PyTorch.

    Raises:
        UsageError: there is none of that name, or it cannot be used.
    """
    entries = list(entry_points(group=GROUP, name=name))
    if not entries:
        known = detector_names()
        if not known:
            raise UsageError(f"{name}: no detector is installed. Install anew: {to_install('detectors')}.")
        raise UsageError(f"{name}: there is no such detector.{suggest(name, known)}")
    if len(entries) > 1:
        packages = " and ".join(sorted(_package(entry) for entry in entries))
        raise UsageError(f"{packages} both bring a detector {name}. Uninstall one of them.")
    return _load(entries[0])


def all_detectors() -> list["AnyDetector"]:
    """Every detector, by name.

    Raises:
        UsageError: one of them cannot be used, or two have one name.
    """
    return [find_detector(name) for name in detector_names()]


def _load(entry: EntryPoint) -> "AnyDetector":
    from detectors.contract import Detector

    package, way_out = _package(entry), f"Mend or uninstall {_package(entry)}."
    try:
        detector = entry.load()
    except ModuleNotFoundError as error:
        raise UsageError(
            f"the detector {entry.name} of {package} needs {error.name}: {to_install('detectors')}; or install what {package} "
            "needs besides, or uninstall it."
        ) from error
    except Exception as error:  # whatever a stranger's module does when it is imported
        raise UsageError(
            f"the detector {entry.name} of {package} cannot be loaded: {type(error).__name__}: {error}. {way_out}"
        ) from error
    if not isinstance(detector, Detector):
        raise UsageError(f"{entry.value} of {package} is no Detector. {way_out}")
    if detector.name != entry.name:
        raise UsageError(f"{package}: the entry point {entry.name} brings a detector that is called {detector.name}. {way_out}")
    return detector


def _package(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist else entry.value
