"""Tables of quality scores."""

import numpy as np

from synthgen.shards import QualityTable


def table_of(qualities, **changes):
    """A table with these qualities by id."""
    n = len(qualities)
    values = {
        "sample_id": tuple(qualities),
        "quality": np.array(list(qualities.values()), np.float32),
        "loss_mean": np.linspace(0, 3, n, dtype=np.float32),
        "loss_deviation": np.full(n, 0.5, np.float32),
        "anomaly_loss": np.full(n, np.nan, np.float32),
        "seen": np.arange(n, dtype=np.uint32),
        "made_by": "bisqad 1",
        "config_json": '{"seed":3}',
        "shards_sha256": "0" * 64,
    }
    return QualityTable(**values | changes)


def scores_of(ids, seed=0):
    return dict(zip(ids, np.random.default_rng(seed).random(len(ids), np.float32).tolist(), strict=True))
