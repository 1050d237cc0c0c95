"""What `synthgen train` was asked for."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synthgen.errors import UsageError


@dataclass(frozen=True, slots=True)
class TrainRequest:
    """The options of `train`, as typed; None where nothing was said."""

    model: str
    dataset: str | None
    root: Path | None
    categories: str | None
    bit_depth: int
    shards: Path | None
    types: str | None
    per_image: int | None
    style: str | None
    npcf: Path | None
    weights: tuple[str, ...]
    config: str
    size: str | None
    settings: tuple[str, ...]
    seed: int
    device: str
    devices: int
    precision: str
    jobs: int | None
    out: Path | None
    json: bool

    @property
    def changes(self) -> dict[str, Any]:
        """The settings of `--set`, by name."""
        changes: dict[str, Any] = {}
        for entry in self.settings:
            name, equals, value = entry.partition("=")
            if not equals:
                raise UsageError(f"--set {entry}: expected NAME=VALUE, such as steps=800.")
            if name == "size":
                raise UsageError(f"--set {entry}: give --size {value or 'N'} instead.")
            changes[name] = value
        return changes

    def refuse(self, *names: str, beside: str = "") -> None:
        """Raise a UsageError if one of these options was given: the model does not have it, or not beside another option."""
        for name in names:
            if getattr(self, name) != _DEFAULTS.get(name):
                other = beside or f"`synthgen train {self.model}`"
                raise UsageError(f"--{name.replace('_', '-')} does not go with {other}.")


_DEFAULTS = {"devices": 1, "bit_depth": 16}
