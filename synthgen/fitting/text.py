"""What was fitted, as a recipe for people: each line says why it is there."""

import json
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from synthgen.fitting.fit import Ranges

_WIDTH = 120


def recipe_text(
    values: Mapping[str, Any],
    weights: Sequence[tuple[str, float]],
    ranges: Mapping[str, Ranges],
    reasons: Mapping[str, str],
    told: Sequence[str],
) -> str:
    """A commented recipe.

    Args:
        values: the recipe as JSON types, but for its types.
        weights: of each type.
        ranges: by type, what it should draw from.
        reasons: by type, why it is weighed so, and has these ranges or none.
        told: lines for the top.
    """
    lines = [*(f"# {line}" for line in told), ""]
    for name, value in values.items():
        if isinstance(value, dict):
            lines.append(f"{name}:")
            for inner, settings in value.items():
                lines.append(f"  {inner}:{'' if settings else ' {}'}")
                lines += [f"    {key}: {_plain(setting)}" for key, setting in settings.items()]
        else:
            lines.append(f"{name}: {_plain(value)}")
    lines.append("types:")
    for name, weight in weights:
        lines += textwrap.wrap(reasons.get(name, ""), _WIDTH, initial_indent="  # ", subsequent_indent="  # ")
        lines.append(f"  {name}:")
        lines.append(f"    weight: {weight:.4g}")
        for setting, span in ranges.get(name, {}).items():
            numbers = [int(value) if setting == "count_range" else value for value in span]
            lines.append(f"    {setting}: {_plain(numbers)}")
    return "\n".join(lines) + "\n"


def _plain(value: Any) -> str:
    """A value as YAML on one line; JSON is YAML."""
    return json.dumps(value, ensure_ascii=False)
