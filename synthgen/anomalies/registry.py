"""The anomaly types, by name. Each is one file with settings, parameters, `draw` and a pure `render_one`."""

from typing import Literal

from synthgen.anomalies.breakage import BREAK
from synthgen.anomalies.contamination import CONTAMINATION
from synthgen.anomalies.contract import AnomalyType
from synthgen.anomalies.corrosion import CORROSION
from synthgen.anomalies.crack import CRACK
from synthgen.anomalies.deformation import DEFORMATION
from synthgen.anomalies.dent import DENT
from synthgen.anomalies.logical import LOGICAL
from synthgen.anomalies.scratch import SCRATCH
from synthgen.anomalies.scuff import SCUFF
from synthgen.anomalies.spot import SPOT
from synthgen.anomalies.stain import STAIN
from synthgen.anomalies.structural import STRUCTURAL
from synthgen.anomalies.zone import ZONE
from synthgen.errors import UsageError, suggest

_SURFACE = (CRACK, CORROSION, DEFORMATION, SPOT, SCRATCH, SCUFF, STAIN, CONTAMINATION, DENT, BREAK, ZONE)

SURFACE_TYPES: dict[str, AnomalyType] = {kind.name: kind for kind in _SURFACE}
"""Those that need nothing but a normal image."""

TYPES: dict[str, AnomalyType] = SURFACE_TYPES | {kind.name: kind for kind in (LOGICAL, STRUCTURAL)}
"""All; the last two edit edges, and need a trained generator."""

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
