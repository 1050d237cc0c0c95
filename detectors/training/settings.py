"""A detector's settings, from a preset and what a user changes."""

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from synthgen.errors import UsageError, suggest

Settings = TypeVar("Settings", bound=BaseModel)


def preset_values(
    detector: str, model: type[BaseModel], presets: Mapping[str, dict[str, Any]], preset: str, changes: Mapping[str, Any]
) -> dict[str, Any]:
    """A preset's values. Raises UsageError if there is no such preset, or a change names no field of the model."""
    if preset not in presets:
        raise UsageError(f"--preset {preset}: there is no such preset.{suggest(preset, list(presets))}")
    if unknown := [name for name in changes if name not in model.model_fields]:
        raise UsageError(f"--set {unknown[0]}: {detector} has no such setting.{suggest(unknown[0], list(model.model_fields))}")
    return presets[preset]


def validated(model: type[Settings], values: Mapping[str, Any]) -> Settings:
    """The settings. Raises UsageError if a value makes no sense, a line for each."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        lines = [f"--set {'.'.join(map(str, e['loc'])) or '?'}: {e['msg']}" for e in error.errors()]
        raise UsageError("\n".join(lines)) from error
