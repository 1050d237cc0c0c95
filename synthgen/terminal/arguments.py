"""Values as people type them: names, sizes, shares, NAME=VALUE."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from synthgen.errors import UsageError


def names_of(text: str | None) -> list[str] | None:
    """Names that commas separate; None for none given."""
    if text is None:
        return None
    names = [part.strip() for part in text.split(",") if part.strip()]
    if not names:
        raise UsageError(f"{text!r} names nothing: leave --categories or --types away for all, or name some.")
    return names


def counts_of(option: str, text: str | None) -> tuple[int, ...]:
    """Whole numbers from 1 on that commas separate; empty for none given."""
    parts = [part.strip() for part in (text or "").split(",") if part.strip()]
    if not all(part.isdigit() and int(part) > 0 for part in parts):
        raise UsageError(f"{option} {text}: expected whole numbers from 1 on, such as 1,2,5.")
    return tuple(dict.fromkeys(int(part) for part in parts))


def size_of(text: str) -> int | list[int]:
    """One number, or [height, width]."""
    sides = text.lower().replace("×", "x").split("x")
    if not 1 <= len(sides) <= 2 or not all(side.strip().isdecimal() for side in sides):
        raise UsageError(f"--size {text}: expected one number, or HEIGHTxWIDTH such as 256x320.")
    return [int(side) for side in sides] if len(sides) == 2 else int(sides[0])


def share_of(text: str) -> float:
    """A share such as `1%` or `0.01`."""
    try:
        return float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError as error:
        raise UsageError(f"--sample {text}: expected a share such as 1% or 0.01.") from error


def shares_of(text: str) -> tuple[float, ...]:
    """Shares that slashes or commas separate, such as `0.8/0.2`."""
    try:
        return tuple(float(part) for part in text.replace(",", "/").split("/"))
    except ValueError as error:
        raise UsageError(f"--split {text}: expected shares, such as 0.8/0.2.") from error


def range_of(text: str) -> tuple[int, int]:
    """The first and the last of whole numbers such as `0-49`; of a single number twice that."""
    first, dash, last = text.partition("-")
    if not first.isdecimal() or (dash and not last.isdecimal()):
        raise UsageError(f"--shards {text}: expected a number, or two such as 0-49.")
    return int(first), int(last) if dash else int(first)


def assignments(option: str, entries: Iterable[str], expected: str) -> list[tuple[str, str]]:
    """The name and the value of each NAME=VALUE, in order.

    Args:
        option: what they were given by, such as `--set`.
        entries: as typed.
        expected: what a user should have typed, such as `NAME=VALUE, such as alpha=0.3`.

    Raises:
        UsageError: one has no name or no `=`.
    """
    pairs = []
    for entry in entries:
        name, equals, value = (part.strip() for part in entry.partition("="))
        if not name or not equals:
            raise UsageError(f"{option} {entry}: expected {expected}.")
        pairs.append((name, value))
    return pairs


def value_of(option: str, name: str, text: str) -> Any:
    """A value as YAML reads it; `1,2` is a list. Raises UsageError if it is none."""
    import yaml

    try:
        return yaml.safe_load(f"[{text}]" if "," in text and not text.startswith("[") else text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UsageError(f"{option} {name}={text}: {text!r} is not a value.") from error


def weights_of(entries: Iterable[str], names: Sequence[str]) -> dict[str, Path]:
    """The files of `--weights NAME=FILE`, by name. Raises UsageError for any other name."""
    expected = " or ".join(f"{name}=FILE" for name in names) if names else "none: nothing here takes weights"
    paths = {}
    for name, path in assignments("--weights", entries, expected):
        if name not in names or not path:
            raise UsageError(f"--weights {name}={path}: expected {expected}.")
        paths[name] = Path(path)
    return paths
