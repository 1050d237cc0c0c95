"""Anomalies drawn on a surface."""

import numpy as np

from synthgen.anomalies.registry import SURFACE_TYPES


def drawn(name, style, this, seed, strength="normal", **overrides):
    """Parameters and what they render."""
    kind = SURFACE_TYPES[name]
    params = kind.draw(np.random.default_rng(seed), this, kind.configure(style, strength, **overrides))
    return params, kind.render_one(this, params)
