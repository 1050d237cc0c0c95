"""Values as people type them: names, sizes, NAME=VALUE."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from synthgen.errors import UsageError


def names_of(text: str | None) -> list[str] | None:
    """Names that commas separate; None for none given."""
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts:
        raise UsageError(f"{text!r} names nothing: leave --categories or --types away for all, or name some.")
    return parts


def size_of(text: str) -> Any:
    """One number, or (height, width)."""
    parts = text.lower().replace("×", "x").split("x")
    if not 1 <= len(parts) <= 2 or not all(part.strip().isdigit() for part in parts):
        raise UsageError(f"--size {text}: expected one number, or HEIGHTxWIDTH such as 256x320.")
    return [int(part) for part in parts] if len(parts) == 2 else int(parts[0])


def weights_of(entries: Sequence[str] | None, names: Sequence[str] = ("pidinet",)) -> dict[str, Path]:
    """The files of `--weights NAME=FILE`. Raises UsageError for any other name."""
    paths: dict[str, Path] = {}
    for entry in entries or ():
        name, _, path = entry.partition("=")
        if name not in names or not path:
            told = f"expected {' or '.join(f'{name}=FILE' for name in names)}" if names else "nothing here takes weights"
            raise UsageError(f"--weights {entry}: {told}.")
        paths[name] = Path(path)
    return paths
