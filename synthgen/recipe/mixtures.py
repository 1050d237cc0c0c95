"""How often each type of anomaly is made of a category: from what is known of it, and from what its normal images show.

The tables are in `manifests/mixtures/default.yaml` (surfaces, materials, traits) and, by category, in
`manifests/datasets/*.yaml`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import cv2
import numpy as np

from synthgen.anomalies.real import REAL
from synthgen.anomalies.registry import SURFACE_TYPES
from synthgen.exemplars.exemplar import ExemplarSet
from synthgen.exemplars.likeness import types_like
from synthgen.manifests import manifest_dir
from synthgen.painting.surface import Surface
from synthgen.samples import Box

Weights = Mapping[str, float]

_GLOSSY = 0.02  # share of highlights
_RESTLESS = 14.0  # gray levels of local standard deviation
_DIGITS = 5
_COPIED = 0.5  # of the samples, where there are real defects to copy
_ALIKE = 0.7  # of the other samples are of types that are like the real defects


@dataclass(frozen=True, slots=True)
class Traits:
    """What the normal images of a category show.

    Attributes:
        is_object: an object on a background; else a texture that fills the picture.
        is_gray: no picture has any colour.
        glossy: highlights are common.
        restless: the surface's own texture is strong.
    """

    is_object: bool
    is_gray: bool
    glossy: bool
    restless: bool


def traits_of(surfaces: Sequence[Surface], is_object: bool) -> Traits:
    """The traits that some normal images of a category share: the median of each.

    Args:
        surfaces: some of its normal images with their foregrounds; without any, a plain surface is assumed.
        is_object: whether a foreground was found.
    """
    if not surfaces:
        return Traits(is_object, False, False, False)
    boxes = [_box(surface) for surface in surfaces]
    return Traits(
        is_object,
        all(surface.is_gray for surface in surfaces),
        float(np.median([surface.reflectance for surface in surfaces])) > _GLOSSY,
        float(np.median([surface.texture(box) for surface, box in zip(surfaces, boxes, strict=True)])) > _RESTLESS,
    )


def mixture(traits: Traits, material: str | None, known: Weights | None) -> dict[str, float]:
    """Weights of the kinds of anomaly, which add up to 1, in the order of `SURFACE_TYPES`.

    Args:
        traits: what the normal images show.
        material: one of `MATERIALS`, or None where nobody said.
        known: weights that are known for the category, or None.
    """
    tables = _tables()
    rows = [tables["surfaces"]["object" if traits.is_object else "texture"]]
    rows += [tables["materials"][material]] if material else []
    rows += [tables["traits"][name] for name in ("glossy", "restless") if getattr(traits, name)]
    weights = _normalised({name: float(np.prod([row.get(name, 1) for row in rows])) for name in SURFACE_TYPES})
    if known:
        known_weights, share = _normalised({name: known.get(name, 0) for name in SURFACE_TYPES}), tables["known"]
        weights = {name: share * known_weights[name] + (1 - share) * weights[name] for name in SURFACE_TYPES}
    return {name: round(weight, _DIGITS) for name, weight in weights.items()}


def with_copies(weights: Weights, exemplars: ExemplarSet) -> dict[str, float]:
    """The weights of a mixture in which copies of real defects take a share, and types that are like these most of the rest.

    Args:
        weights: of the surface types, which add up to 1.
        exemplars: the real defects.
    """
    alike, kept = types_like(exemplars), 1 - _COPIED
    asked = _ALIKE * sum(alike.values())
    mixed = {name: _ALIKE * alike.get(name, 0.0) + (1 - asked) * weight for name, weight in weights.items()}
    return {name: round(kept * weight, _DIGITS) for name, weight in mixed.items()} | {REAL.name: _COPIED}


def _box(surface: Surface) -> Box:
    """The box around the foreground."""
    x, y, width, height = cv2.boundingRect(surface.foreground)
    return y, x, y + height, x + width


def _normalised(weights: Weights) -> dict[str, float]:
    total = sum(weights.values())
    return {name: weight / total for name, weight in weights.items()}


@cache
def _tables() -> dict[str, Any]:
    import yaml

    return dict(yaml.safe_load((manifest_dir() / "mixtures" / "default.yaml").read_text(encoding="utf-8")))
