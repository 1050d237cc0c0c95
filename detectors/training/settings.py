"""A detector's settings, from a preset and what a user changes."""

from collections.abc import Mapping
from typing import TypeVar

from pydantic import ValidationError

from detectors.contract import DetectorSettings
from synthgen.errors import UsageError, suggest

Presets = Mapping[str, Mapping[str, object]]
"""Settings that differ from the model's defaults, by name of the preset; the default preset first."""

S = TypeVar("S", bound=DetectorSettings)


def preset_values(
    detector: str, model: type[DetectorSettings], presets: Presets, preset: str, changes: Mapping[str, object]
) -> dict[str, object]:
    """A preset's values, with changes.

    Raises:
        UsageError: there is no such preset, or a change names no field of the model.
    """
    if preset not in presets:
        raise UsageError(f"--preset {preset}: there is no such preset.{suggest(preset, list(presets))}")
    if unknown := [name for name in changes if name not in model.model_fields]:
        raise UsageError(f"--set {unknown[0]}: {detector} has no such setting.{suggest(unknown[0], list(model.model_fields))}")
    return {**presets[preset], **changes}


def validated(model: type[S], values: Mapping[str, object]) -> S:
    """The settings. Raises UsageError if a value makes no sense, a line for each."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        lines = [f"--set {'.'.join(map(str, fault['loc'])) or '?'}: {fault['msg']}" for fault in error.errors()]
        raise UsageError("\n".join(lines)) from error
