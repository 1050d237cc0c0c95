"""Tables of figures: data in the record of a run, Markdown on the terminal and in BENCHMARKS.md."""

from collections.abc import Sequence
from dataclasses import dataclass
from string import Formatter
from typing import Any

Cell = Any
"""None, a text, a number, a list of numbers, or {"values": numbers, "format": how to write them}."""


@dataclass(frozen=True, slots=True)
class Column:
    """What stands over a column, and how its figures are written.

    Attributes:
        title: Markdown.
        formats: for `str.format`; of several, a cell takes the one that writes most of its numbers. Numbers that are not
            written are in the record.
        best: whether the largest figure is shown in bold.
    """

    title: str
    formats: tuple[str, ...] = ("{}",)
    best: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """Columns, and rows with a cell for each."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]

    def as_json(self) -> dict[str, Any]:
        """As it is kept in a record."""
        columns = [{"title": c.title, "formats": list(c.formats)} | ({"best": True} if c.best else {}) for c in self.columns]
        return {"columns": columns, "rows": [list(row) for row in self.rows]}


def from_json(data: dict[str, Any]) -> Table:
    """The table that a record holds."""
    columns = [Column(c["title"], tuple(c["formats"]), c.get("best", False)) for c in data["columns"]]
    return Table(columns, data["rows"])


def as_markdown(table: Table) -> str:
    """Lines of a Markdown table, each with its line feed."""
    best = {k: max(map(_first, (row[k] for row in table.rows))) for k, column in enumerate(table.columns) if column.best}
    lines = ["".join(f"| {column.title} " if column.title else "| " for column in table.columns), "|---" * len(table.columns)]
    for row in table.rows:
        if len(row) != len(table.columns):
            raise ValueError(f"a row of {len(row)} cells under {len(table.columns)} columns: {row}")
        texts = [cell_text(cell, column.formats) for cell, column in zip(row, table.columns, strict=True)]
        texts = [f"**{text}**" if k in best and _first(row[k]) == best[k] else text for k, text in enumerate(texts)]
        lines.append("".join(f"| {text} " if text else "| " for text in texts))
    return "".join(f"{line}|\n" for line in lines)


def cell_text(cell: Cell, formats: Sequence[str]) -> str:
    """One cell, written in its column's way or in its own."""
    if cell is None or isinstance(cell, str):
        return cell or ""
    if isinstance(cell, dict):
        return str(cell["format"].format(*cell["values"]))
    values = cell if isinstance(cell, list | tuple) else [cell]
    return max((form for form in formats if _fields(form) <= len(values)), key=_fields).format(*values)


def _fields(form: str) -> int:
    """How many numbers a format writes."""
    return sum(name is not None for _, name, _, _ in Formatter().parse(form))


def _first(cell: Cell) -> float:
    """The figure by which a cell is compared."""
    if cell is None or isinstance(cell, str):
        return float("-inf")
    values = cell["values"] if isinstance(cell, dict) else cell
    return float(values[0] if isinstance(values, list | tuple) else values)
