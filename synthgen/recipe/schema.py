"""Recipes for people who write them: a JSON Schema for editors, and a commented recipe to start from."""

from typing import Any

from synthgen.anomalies.registry import ALIASES, AUTO, SURFACE_TYPES, TYPES
from synthgen.datasets import dataset_names
from synthgen.foreground import MODES
from synthgen.painting.surface import MATERIALS
from synthgen.recipe.recipe import Recipe
from synthgen.refine.refiner import ALIASES as STAGE_ALIASES
from synthgen.refine.refiner import STAGES


def recipe_schema() -> dict[str, Any]:
    """A JSON Schema (draft 2020-12) of recipe files; editors complete and check with it."""
    schema = Recipe.model_json_schema()
    definitions: dict[str, Any] = schema["$defs"]
    common = definitions.pop("TypeRecipe")["properties"]
    for name, kind in TYPES.items():
        definition = kind.settings.model_json_schema()
        definition["properties"] = definition["properties"] | common  # style may be left to the recipe
        definition["additionalProperties"] = False
        definitions[name] = definition
    names = {name: {"anyOf": [{"$ref": f"#/$defs/{name}"}, {"type": "null"}]} for name in TYPES}
    names |= {alias: names[name] for alias, name in ALIASES.items()}
    schema["properties"]["types"] = {
        "anyOf": [
            {"const": AUTO},
            {
                "type": "object",
                "properties": {**names, AUTO: {"type": "null"}},
                "additionalProperties": False,
                "minProperties": 1,
            },
            {"type": "array", "items": {"enum": [*names, AUTO]}, "uniqueItems": True, "minItems": 1},
        ]
    }
    schema["properties"]["datasets"] = {
        "anyOf": [
            {
                "type": "object",
                "propertyNames": {"enum": dataset_names()},
                "additionalProperties": {"anyOf": [{"$ref": "#/$defs/DatasetRecipe"}, {"type": "null"}]},
                "minProperties": 1,
            },
            {"type": "array", "items": {"enum": dataset_names()}, "uniqueItems": True, "minItems": 1},
        ]
    }
    side = {"type": "integer", "minimum": 16, "maximum": 4096}
    schema["properties"]["size"] = {"anyOf": [side, {"type": "array", "items": side, "minItems": 2, "maxItems": 2}]}
    schema["properties"]["foreground"]["enum"] = [*MODES]
    schema["properties"]["refine"]["enum"] = [AUTO, *STAGES, *STAGE_ALIASES]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "synthgen recipe"} | schema


def starter_recipe() -> str:
    """A recipe with every field, its default, and what it means."""
    lines = [
        "# A recipe for `synthgen build --recipe THIS_FILE --root DIR`. Everything with a # in front is the default.",
        "kind: recipe",
        "name: my-set",
        "",
        "# Where normal images come from: " + ", ".join(dataset_names()) + ".",
        "datasets:",
        "  folder:",
        f"    material: metal          # {', '.join(MATERIALS)}",
        "    # categories: [one, two]   # all of them",
        "    # per_image: 3             # instead of the recipe's",
        "    # mixtures: {one: {crack: 2, spot: 1}}   # what `auto` should know of a category",
        "",
    ]
    lines += [
        *_fields(),
        "",
        "# What is made of them: `auto` is a mixture of all surface types by what suits a category. Without it, per_image",
        "# samples of each type that is named. Each type may have a style, a strength and settings of its own, and per_image,",
        "# or in a mixture a weight. Instead of these: `logical` and `structural`, which need --edge-generator.",
        "types:",
        f"  {AUTO}:",
    ]
    for name, kind in SURFACE_TYPES.items():
        settings = kind.settings()
        lines.append(f"  {name}:")
        lines += [
            f"    # {field}: {_yaml(getattr(settings, field))}" for field in kind.settings.model_fields if field != "style"
        ]
    return "\n".join(lines) + "\n"


_MEANINGS = {
    "size": "pixels, or [height, width]",
    "seed": "another seed gives other samples",
    "per_image": "samples per normal image and type",
    "share": "of each category's normal images",
    "style": "realistic or paper",
    "strength": "subtle, normal or strong",
    "foreground": ", ".join(MODES),
    "refine": f"{', '.join(STAGES)}, or as far as there are networks",
    "mixture": "known, or surface: by no published names of defects",
    "layout": "delta, or dense: a whole image per row",
    "base_compression": "none, or gzip: smaller, slower to read",
    "samples_per_shard": "at most",
    "max_rejected": "share beyond which a build ends with exit status 6",
}


def _fields() -> list[str]:
    defaults = {name: field.default for name, field in Recipe.model_fields.items()} | {"size": 512}
    return [f"# {name}: {_yaml(defaults[name])}".ljust(28) + f"# {meaning}" for name, meaning in _MEANINGS.items()]


def _yaml(value: Any) -> str:
    return f"[{', '.join(f'{v:g}' for v in value)}]" if isinstance(value, tuple) else str(value)
