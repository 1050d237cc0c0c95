"""`--mixture`: what a measurement of worth says about a category."""

import json
from collections.abc import Sequence
from pathlib import Path

from synthgen.errors import InputDataError, UsageError


def read_mixtures(paths: Sequence[Path]) -> dict[str, dict[str, float]]:
    """Category -> type -> weight, from files that `synthgen worth` wrote.

    Raises:
        InputDataError: a file that cannot be read, or is another.
        UsageError: two files about one category, or one that suggests nothing.
    """
    mixtures: dict[str, dict[str, float]] = {}
    for path in paths:
        category, weights = _read(path)
        if category in mixtures:
            raise UsageError(f"--mixture {path}: an earlier file has weights for {category} already; give one of them.")
        if not any(weights.values()):
            raise UsageError(
                f"--mixture {path}: suggests nothing, since it measured no type by itself. Measure a dataset with several "
                "types, at least 8 samples of each."
            )
        mixtures[category] = weights
    return mixtures


def _read(path: Path) -> tuple[str, dict[str, float]]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values["format"] != "synthgen-worth":
            raise KeyError("format")
        return str(values["category"]), {str(name): float(weight) for name, weight in values["suggested_weights"].items()}
    except OSError as error:
        raise InputDataError(f"--mixture {path}: {error.strerror or error}. `synthgen worth` writes worth.json.") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputDataError(f"--mixture {path}: no worth.json of `synthgen worth`.") from error
