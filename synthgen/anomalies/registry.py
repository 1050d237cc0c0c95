"""The anomaly types, by name. Each is one file with settings, parameters, `draw` and a pure `render_one`.

Other packages bring types of their own by the entry point group `synthgen.anomalies` (docs/new-type.md).
"""

from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Literal

from synthgen.anomalies.breakage import BREAK
from synthgen.anomalies.contamination import CONTAMINATION
from synthgen.anomalies.contract import AnomalyType, AnyAnomalyType
from synthgen.anomalies.corrosion import CORROSION
from synthgen.anomalies.crack import CRACK
from synthgen.anomalies.deformation import DEFORMATION
from synthgen.anomalies.dent import DENT
from synthgen.anomalies.logical import LOGICAL
from synthgen.anomalies.real import REAL
from synthgen.anomalies.scratch import SCRATCH
from synthgen.anomalies.scuff import SCUFF
from synthgen.anomalies.spot import SPOT
from synthgen.anomalies.stain import STAIN
from synthgen.anomalies.structural import STRUCTURAL
from synthgen.anomalies.zone import ZONE
from synthgen.errors import UsageError, suggest

_SURFACE: tuple[AnyAnomalyType, ...] = (
    CRACK, CORROSION, DEFORMATION, SPOT, SCRATCH, SCUFF, STAIN, CONTAMINATION, DENT, BREAK, ZONE,
)  # fmt: skip
SURFACE_TYPES: dict[str, AnyAnomalyType] = {kind.name: kind for kind in _SURFACE}
"""Those that need nothing but a normal image."""

_EDGES: tuple[AnyAnomalyType, ...] = (LOGICAL, STRUCTURAL)
_BUILT_IN = SURFACE_TYPES | {kind.name: kind for kind in (REAL, *_EDGES)}
GROUP = "synthgen.anomalies"
"""The entry points that bring types."""


def plug_ins(known: Mapping[str, AnyAnomalyType]) -> dict[str, AnyAnomalyType]:
    """The types that installed packages bring.

    Args:
        known: those that there are already.

    Raises:
        UsageError: one of them cannot be used, or is called like another.
    """
    brought: dict[str, AnyAnomalyType] = {}
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        package = entry.dist.name if entry.dist else entry.value
        way_out = f"Mend or uninstall {package}."
        try:
            kind = entry.load()
        except Exception as error:  # whatever a stranger's module does when it is imported
            raise UsageError(
                f"the anomaly type {entry.name} of {package} cannot be loaded: {type(error).__name__}: {error}. {way_out}"
            ) from error
        if not isinstance(kind, AnomalyType):
            raise UsageError(f"{entry.value} of {package} is no AnomalyType. {way_out}")
        if kind.name in known or kind.name in brought:
            raise UsageError(f"{package}: there is an anomaly type {kind.name} already. {way_out}")
        brought[kind.name] = kind
    return brought


TYPES: dict[str, AnyAnomalyType] = _BUILT_IN | plug_ins(_BUILT_IN)
"""All: `real` copies real defects, and needs some; `logical` and `structural` edit edges, and need a trained generator; those
of other packages come last."""

ALIASES = {"tps": "deformation", "fl": "crack", "pl": "corrosion", "pw": "deformation"}
"""Other names of the types: the warp's method, and the second version of the paper."""


AUTO: Literal["auto"] = "auto"
"""In place of types: a mixture of the surface types, by what suits a category."""


def canonical_type(name: str) -> str:
    """The name of a type, from its name or an alias.

    Raises:
        UsageError: there is no such type.
    """
    plain = name.strip().lower()
    plain = ALIASES.get(plain, plain)
    if plain not in TYPES:
        raise UsageError(f"type {name!r}: there is no such anomaly type.{suggest(plain, [*TYPES, *ALIASES, AUTO])}")
    return plain
