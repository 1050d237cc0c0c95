"""Recipes as YAML files: read safely, and wrong fields named by file and line."""

from pathlib import Path
from typing import Any

import yaml

from synthgen.anomalies.registry import ALIASES
from synthgen.errors import UsageError, suggest
from synthgen.manifests import manifest_dir
from synthgen.recipe.recipe import Recipe, make_recipe

_LARGEST_FILE = 1 << 20  # bytes


def read_recipe_file(path: Path) -> Recipe:
    """The recipe in a YAML file.

    Raises:
        UsageError: the file cannot be read, is no YAML, or describes no recipe; with file name and line.
    """
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise UsageError(f"{path}: larger than {_LARGEST_FILE} bytes: this is no recipe.")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read as text ({error}).") from error
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        values = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise UsageError(f"{path}{line}: not valid YAML: {error.problem}.") from error
    except (yaml.YAMLError, RecursionError, ValueError, LookupError, TypeError, AttributeError) as error:
        # PyYAML's constructors let these through, for `!!int ''` and the like
        raise UsageError(f"{path}: not valid YAML: {type(error).__name__}.") from error
    if not isinstance(values, dict):
        raise UsageError(f"{path}: a recipe is a mapping with `datasets` and `types`.")
    lines: dict[tuple[str, ...], str] = {}
    _note_lines(path, node, (), lines, set())
    _note_aliases(lines)
    return make_recipe(values, lines, f"{path}")


def _note_aliases(lines: dict[tuple[str, ...], str]) -> None:
    """A type under another name has its place under its own one too."""
    for place, line in list(lines.items()):
        if len(place) > 1 and place[0] == "types" and place[1].lower() in ALIASES:
            lines.setdefault(("types", ALIASES[place[1].lower()], *place[2:]), line)


def _note_lines(path: Path, node: Any, place: tuple[str, ...], lines: dict[tuple[str, ...], str], done: set[int]) -> None:
    """Fill `lines` with `file:line` of every key and item below a node; what YAML aliases repeat is looked at once."""
    if id(node) in done:
        return
    done.add(id(node))
    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            line = f"{path}:{key.start_mark.line + 1}"
            if not isinstance(key, yaml.ScalarNode):
                raise UsageError(f"{line}: a key is a plain word.")
            if key.value in seen:
                raise UsageError(f"{line}: {key.value!r} is there twice.")
            seen.add(key.value)
            lines[(*place, str(key.value))] = line
            _note_lines(path, value, (*place, str(key.value)), lines, done)
    elif isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            lines[(*place, str(number))] = f"{path}:{item.start_mark.line + 1}"
            _note_lines(path, item, (*place, str(number)), lines, done)


def load_recipe(name_or_path: str) -> Recipe:
    """A built-in recipe by name, or one's own by path.

    Raises:
        UsageError: no such recipe, or a file that is not one; the text names the line.
    """
    if name_or_path in recipe_names():
        return read_recipe_file(manifest_dir() / f"{name_or_path}.yaml")
    path = Path(name_or_path)
    if not path.exists():
        known = suggest(name_or_path, recipe_names()) if recipe_names() else ""
        raise UsageError(f"--recipe {name_or_path}: neither a built-in recipe nor a file.{known}")
    return read_recipe_file(path)


def recipe_names() -> list[str]:
    """The built-in recipes."""
    return sorted(path.stem for path in manifest_dir().glob("*.yaml"))
