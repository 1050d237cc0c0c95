"""Qualities of the samples of shards, as a trained BiSQAD estimates them (MaPhC2F, section 3.3.1)."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from detectors.bisqad.data import pool, to_input
from detectors.bisqad.model import BiSQAD
from detectors.bisqad.train import QUALITY
from detectors.data.feature_cache import batches
from detectors.data.preprocessing import Preprocessing
from detectors.data.training_data import samples_sha256
from detectors.runs import read_config
from synthgen.errors import InputDataError, UsageError
from synthgen.files import read_json
from synthgen.runs.devices import Compute, memory_errors
from synthgen.runs.folder import WAY_OUT
from synthgen.samples import Image
from synthgen.shards import ShardDataset
from synthgen.shards.quality import SCORED, QualityTable, shards_digest

_BATCH = 16
_PLACES = ("weights", "root", "shards", "versions")


def score_samples(model: BiSQAD, run: Path, preprocessing: Preprocessing, path: Path, compute: Compute) -> QualityTable:
    """The quality of every accepted sample of a category, with what the training saw of those that it learned from.

    Args:
        model: a trained BiSQAD.
        run: its folder.
        preprocessing: how files become its pixels.
        path: a folder of shards, or one shard.
        compute: where to.

    Raises:
        UsageError: the run has no fitted estimator.
        InputDataError: the shards hold no accepted sample.
        IntegrityError: a shard is damaged.
    """
    known: dict[str, Any] = read_json(run / QUALITY, WAY_OUT)
    if not known.get("fits"):
        raise UsageError(
            f"{run}: has no fitted quality estimator. `detectors train bisqad` has one, with sqe=true and more epochs "
            "than its warm_up."
        )
    trained, shards = read_config(run), ShardDataset(path)
    category = (trained["dataset"], trained["category"])
    if category not in {(header.dataset, header.category) for header in shards.headers}:
        raise UsageError(f"{path}: holds nothing of {'/'.join(category)}, on which {run} was trained.")
    columns = (shards.column(name).tolist() for name in ("label", "dataset", "category"))
    accepted = [
        number for number, (label, *names) in enumerate(zip(*columns, strict=True)) if label and tuple(names) == category
    ]
    if not accepted:
        raise InputDataError(f"{path}: no accepted samples to score.")
    ids = shards.ids
    # ids say nothing of seed and settings: losses are known of the very samples that were learned from alone
    same = trained.get("training_anomalies_sha256") == samples_sha256(shards)
    rows = {name: row for row, name in enumerate(known["sample_id"])} if same else {}
    at = [rows.get(ids[number]) for number in accepted]

    def images() -> Iterator[Image]:
        for number in accepted:
            yield preprocessing.fit(shards[number].image)

    qualities = []
    with torch.inference_mode(), compute.autocast(), memory_errors("while scoring"):
        for batch in batches((torch.from_numpy(image) for image in images()), _BATCH):
            pooled = pool(model.features.all_channels(to_input(batch, compute)))
            qualities.append(model.estimator(pooled.to(compute.device)).float().cpu())
    config = {name: value for name, value in trained.items() if name not in _PLACES}
    config[SCORED] = sorted({header.config_sha256 for header in shards.headers})
    return QualityTable(
        sample_id=tuple(ids[number] for number in accepted),
        quality=torch.cat(qualities).numpy(),
        **{name: _column(known[name], at) for name in ("loss_mean", "loss_deviation", "anomaly_loss")},
        seen=np.array([0 if row is None else known["seen"][row] for row in at], np.uint32),
        made_by=f"bisqad {trained['settings_sha256'][:12]}",
        config_json=json.dumps(config, sort_keys=True),
        shards_sha256=shards_digest(shards.contents),
    )


def _column(values: list[Any], rows: list[int | None]) -> NDArray[np.float32]:
    """Values of some rows; NaN where there are none."""
    chosen = [None if row is None else values[row] for row in rows]
    return np.array([np.nan if value is None else value for value in chosen], np.float32)
