"""What every anomaly type offers: settings a user may set, parameters that hold all randomness, and a pure rendering.

A type lives in one file and ends with one `AnomalyType`, generic in its settings and its parameters. `draw` turns settings
and random numbers into parameters; `render` turns a surface and parameters into changed pixels, always the same ones. So a
sample can be made again from the parameters stored with it, and whether it is made in memory or on disk does not matter.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Annotated, Any, Generic, Literal, TypeAlias, TypeVar

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from synthgen.painting.rendered import Rendered
from synthgen.painting.surface import Surface

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Style = Literal["realistic", "paper"]
Strength = Literal["subtle", "normal", "strong"]

_LARGEST, _LARGEST_RELATIVE, _MOST = 512, 4, 100


def _ordered(value: tuple[float, float]) -> tuple[float, float]:
    if not 0 <= value[0] <= value[1] <= _LARGEST:
        raise ValueError(f"expected two numbers, 0 <= smallest <= largest <= {_LARGEST}")
    return value


def _few(value: tuple[int, int]) -> tuple[int, int]:
    if not 1 <= value[0] <= value[1] <= _MOST:
        raise ValueError(f"expected two whole numbers, 1 <= smallest <= largest <= {_MOST}")
    return value


def _relative(value: tuple[float, float]) -> tuple[float, float]:
    if value[1] > _LARGEST_RELATIVE:
        raise ValueError(f"expected numbers up to {_LARGEST_RELATIVE}: they are relative to the part's size")
    return value


def _positive(value: tuple[float, float]) -> tuple[float, float]:
    if value[0] <= 0:
        raise ValueError("expected two numbers greater than 0")
    return value


Range = Annotated[tuple[float, float], AfterValidator(_ordered)]
PositiveRange = Annotated[Range, AfterValidator(_positive)]
RelativeRange = Annotated[PositiveRange, AfterValidator(_relative)]
CountRange = Annotated[tuple[int, int], AfterValidator(_few)]
Share = Annotated[float, Field(ge=0, le=1)]


class TypeSettings(BaseModel):
    """Ranges to draw from. Lengths in `_px_range` are pixels of a 512-pixel image and scale with the sample's size.

    Attributes:
        style: `realistic`, or `paper` for the papers' pseudocode; types that no paper gives are the same in both.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    style: Style = "realistic"


SettingsT = TypeVar("SettingsT", bound=TypeSettings)
ParamsT = TypeVar("ParamsT", bound="DataclassInstance")


@dataclass(frozen=True, kw_only=True)
class AnomalyType(Generic[SettingsT, ParamsT]):
    """One kind of anomaly, made by keyword.

    Attributes:
        name: what users call it.
        version: raised whenever the same parameters would give other pixels.
        settings: model of what a user may set.
        strengths: settings of each strength, by name.
        params: frozen dataclass of plain numbers, strings and tuples: all the randomness of a sample.
        draw: (rng, surface, settings) -> params.
        render_one: (surface, params) -> changed pixels; pure.
        largest_share: a change of more than this share of the image is no local anomaly any more, and is drawn again.
        smallest_contrast: mean change in gray levels below which nobody would see it, and it is drawn again.
        contrast_over_texture: the same over the local standard deviation of the brightness, which hides small changes; less
            for what is large enough to be seen by its boundary.
        render_many: `render_one` for a batch, where that is faster.
        edits_edges: whether it needs the edges of a normal image and a generator, and judges its own changes.
        copies_real: whether it needs real defects to copy.
    """

    name: str
    version: int
    settings: type[SettingsT]
    strengths: Mapping[str, Mapping[str, Any]]
    params: type[ParamsT]
    draw: Callable[[np.random.Generator, Surface, SettingsT], ParamsT]
    render_one: Callable[[Surface, ParamsT], Rendered]
    largest_share: float = 0.2
    smallest_contrast: float = 6.0
    contrast_over_texture: float = 1.5
    render_many: Callable[[Sequence[Surface], Sequence[ParamsT]], list[Rendered]] | None = None
    edits_edges: bool = False
    copies_real: bool = False

    @property
    def generator(self) -> str:
        """Name and version, as recorded with every sample: `"crack 1"`."""
        return f"{self.name} {self.version}"

    @property
    def refined(self) -> bool:
        """Whether networks refine it: neither what a network drew nor what a camera saw."""
        return not (self.edits_edges or self.copies_real)

    def configure(self, style: Style = "realistic", strength: Strength = "normal", **overrides: Any) -> SettingsT:
        """Settings of a style and strength, with single fields replaced.

        Raises:
            pydantic.ValidationError: if a field is unknown or its value makes no sense.
        """
        return self.settings(**{"style": style, **self.strengths[strength], **overrides})

    def render(self, surfaces: Sequence[Surface], params: Sequence[ParamsT]) -> list[Rendered]:
        """Changed pixels of a batch, one for each pair of surface and parameters."""
        if self.render_many is not None:
            return self.render_many(surfaces, params)
        return [self.render_one(surface, drawn) for surface, drawn in zip(surfaces, params, strict=True)]

    def to_json(self, params: ParamsT) -> dict[str, Any]:
        """Parameters as JSON types."""
        return {field.name: _lists(getattr(params, field.name)) for field in fields(params)}

    def from_json(self, values: Mapping[str, Any]) -> ParamsT:
        """Parameters from what `to_json` gave, also after a trip through a JSON file."""
        return self.params(**{name: _tuples(value) for name, value in values.items()})


AnyAnomalyType: TypeAlias = AnomalyType[Any, Any]
"""A type among others. What it draws goes back to itself alone: nobody else looks into its settings or parameters."""


def _lists(value: Any) -> Any:
    return [_lists(v) for v in value] if isinstance(value, list | tuple) else value


def _tuples(value: Any) -> Any:
    return tuple(_tuples(v) for v in value) if isinstance(value, list | tuple) else value
