"""Tables for the terminal."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from rich.table import Table

from synthgen.anomalies.materials import MATERIAL_MODES
from synthgen.anomalies.registry import ALIASES, TYPES
from synthgen.datasets import DatasetScan, dataset_info, dataset_names
from synthgen.manifests import manifest_dir
from synthgen.painting.surface import UNKNOWN
from synthgen.plan import Plan
from synthgen.recipe import recipe_names

_MOST_REJECTED_SHOWN = 6


def scan_table(scan: DatasetScan) -> Table:
    """What was found of a dataset: per category found, used, rejected, and why."""
    table = _table(
        f"{scan.dataset}: {scan.layout}", [("category", ""), ("found", "right"), ("used", "right"), ("rejected", "right")]
    )
    table.add_column("why")
    for category in scan.categories:
        shown = [f"{file.path}: {file.detail}" for file in category.rejected[:_MOST_REJECTED_SHOWN]]
        more = len(category.rejected) - len(shown)
        why = "\n".join([*shown, f"... and {more} more"] if more > 0 else shown)
        _row(table, (category.name, category.found, len(category.used), len(category.rejected), why))
    return table


def plan_table(plan: Plan) -> Table:
    """What a plan makes: samples by category and type."""
    types = list(plan.recipe.types)
    table = _table(
        f"{len(plan)} samples of {plan.recipe.size[0]} x {plan.recipe.size[1]} in {len(plan.shards)} shards",
        [
            ("dataset", ""), ("category", ""), ("material", ""), ("normals", "right"),
            *((name, "right") for name in types), ("shards", "right"),
        ],
    )  # fmt: skip
    for entry in plan_json(plan)["categories"]:
        counts = (entry["samples"][name] for name in types)
        _row(table, (entry["dataset"], entry["category"], entry["material"], entry["normals"], *counts, entry["shards"]))
    return table


def plan_json(plan: Plan) -> dict[str, Any]:
    """A plan as JSON types."""
    counts = Counter((spec.dataset, spec.category, spec.type) for spec in plan.specs())
    categories = []
    for scan in plan.scans:
        for category in scan.categories:
            shards = [s for s in plan.shards if (s.dataset, s.category) == (scan.dataset, category.name)]
            categories.append(
                {
                    "dataset": scan.dataset,
                    "category": category.name,
                    "material": plan.recipe.material(scan.dataset, category.name),
                    "found": category.found,
                    "normals": sum(len(shard.sources) for shard in shards),
                    "rejected": [[file.path, file.reason] for file in category.rejected],
                    "samples": {name: counts[scan.dataset, category.name, name] for name in plan.recipe.types},
                    "shards": len(shards),
                }
            )
    values = {"samples": len(plan), "shards": len(plan.shards), "size": list(plan.recipe.size), "categories": categories}
    return values if plan.quality is None else values | {"below_quality": plan.below_quality}


def info_table(info: dict[str, Any]) -> Table:
    """What a dataset holds by category and type; areas and contrasts as 5th, 50th and 95th percentile."""
    table = _table(info["path"], [("category", ""), ("type", ""), ("samples", "right"), ("rejected", "right")])
    table.add_column("area, % of the image", justify="right")
    table.add_column("contrast, gray levels", justify="right")
    for group in info["groups"]:
        area = " / ".join(f"{value:.2f}" for value in group["area"])
        contrast = " / ".join(f"{value:.0f}" for value in group["contrast"])
        _row(table, (group["category"], group["type"], group["samples"], group["rejected"], area, contrast))
    return table


def datasets_table() -> Table:
    """The datasets that can be read."""
    table = _table("datasets", [("name", ""), ("title", ""), ("licence", ""), ("layout", "")])
    for name in dataset_names():
        known = dataset_info(name)
        _row(table, (name, known.title, known.licence, known.layout))
    return table


def types_table() -> Table:
    """The anomaly types, with the first paragraph of what their module says."""
    import inspect
    import sys

    table = _table("anomaly types", [("name", ""), ("also called", ""), ("what it is", "")])
    for name, kind in TYPES.items():
        text = inspect.getdoc(sys.modules[kind.settings.__module__]) or ""
        aliases = ", ".join(alias for alias, plain in ALIASES.items() if plain == name)
        _row(table, (name, aliases, " ".join(text.split("\n\n")[0].split())))
    return table


def settings_table() -> Table:
    """What can be set of each type, with the values of each strength."""
    table = _table(
        "settings (in a recipe, or by --set TYPE.FIELD=VALUE)",
        [("setting", ""), *((strength, "right") for strength in ("subtle", "normal", "strong"))],
    )
    for name, kind in TYPES.items():
        models = {strength: kind.configure(strength=strength) for strength in ("subtle", "normal", "strong")}
        for field in kind.settings.model_fields:
            if field != "style":
                _row(table, (f"{name}.{field}", *(_value(getattr(model, field), field) for model in models.values())))
    return table


def materials_table() -> Table:
    """The materials, with the kinds of corrosion they show."""
    table = _table("materials", [("name", ""), ("corrosion shows as", "")])
    for name, modes in MATERIAL_MODES.items():
        _row(
            table,
            (
                "(where nobody says)" if name == UNKNOWN else name,
                ", ".join(f"{mode} {share:.0%}" for mode, share in modes.items()),
            ),
        )
    return table


def recipes_table() -> Table:
    """The built-in recipes."""
    table = _table("recipes", [("name", ""), ("what it makes", "")])
    for name in recipe_names():
        head = (manifest_dir() / f"{name}.yaml").read_text(encoding="utf-8").split("\n#\n")[0]
        _row(table, (name, " ".join(line.removeprefix("#").strip() for line in head.splitlines())))
    return table


def _table(title: str, columns: Sequence[tuple[str, str]]) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.text import Text

    table = Table(title=Text(title), title_justify="left", box=SIMPLE_HEAD, title_style="bold")
    for name, justify in columns:
        table.add_column(name, justify="right" if justify == "right" else "left")
    return table


def _row(table: Table, values: Iterable[object]) -> None:
    from rich.text import Text

    table.add_row(*(Text(str(value)) for value in values))


def _value(value: Any, field: str) -> str:
    if isinstance(value, tuple):
        return (" .. " if field.endswith("_range") else ", ").join(f"{v:g}" for v in value)
    return value if isinstance(value, str) else ("no", "yes")[value] if isinstance(value, bool) else f"{value:g}"
