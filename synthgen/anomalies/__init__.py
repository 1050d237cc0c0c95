"""The anomaly types, by name. Each is one file with settings, parameters, `draw` and a pure `render_one`."""

from synthgen.anomalies.contract import AnomalyType
from synthgen.anomalies.corrosion import CORROSION
from synthgen.anomalies.crack import CRACK
from synthgen.anomalies.deformation import DEFORMATION
from synthgen.errors import UsageError, suggest

TYPES: dict[str, AnomalyType] = {kind.name: kind for kind in (CRACK, CORROSION, DEFORMATION)}

ALIASES = {"tps": "deformation", "fl": "crack", "pl": "corrosion", "pw": "deformation"}
"""Other names of the types: the warp's method, and the second version of the paper."""


def canonical_type(name: str) -> str:
    """The name of a type, from its name or an alias.

    Raises:
        UsageError: there is no such type.
    """
    plain = name.strip().lower()
    plain = ALIASES.get(plain, plain)
    if plain not in TYPES:
        raise UsageError(f"type {name!r}: there is no such anomaly type.{suggest(plain, [*TYPES, *ALIASES])}")
    return plain
