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
from detectors.caching import batches
from detectors.loading import LoadedRun
from synthgen.errors import InputDataError, UsageError
from synthgen.samples import Image
from synthgen.shards import ShardDataset
from synthgen.shards.quality import QualityTable, shards_digest
from synthgen.training.devices import Compute, memory_errors
from synthgen.training.folder import read_json

_BATCH = 16
_PLACES = ("weights", "root", "shards", "versions")


def score_samples(run: LoadedRun, path: Path, compute: Compute) -> QualityTable:
    """The quality of every accepted sample of some shards, with what the training saw of those that it learned from.

    Args:
        run: a trained BiSQAD.
        path: a folder of shards, or one shard.
        compute: where to.

    Raises:
        UsageError: the run is another detector, or has no estimator.
        InputDataError: the shards hold no accepted sample.
        IntegrityError: a shard is damaged.
    """
    if not isinstance(run.model, BiSQAD) or not run.config["settings"]["sqe"]:
        raise UsageError(f"{run.path}: has no quality estimator. `detectors train bisqad` trains one, with sqe=true.")
    shards = ShardDataset(path)
    accepted = [number for number, label in enumerate(shards.column("label").tolist()) if label]
    if not accepted:
        raise InputDataError(f"{path}: no accepted samples to score.")
    ids = shards.ids
    known = read_json(run.path / QUALITY)
    rows = {name: row for row, name in enumerate(known["sample_id"])}
    at = [rows.get(ids[number]) for number in accepted]

    def images() -> Iterator[Image]:
        for number in accepted:
            yield _fitted(run, shards[number].image)

    qualities = []
    with torch.inference_mode(), compute.autocast(), memory_errors("while scoring"):
        for batch in batches((torch.from_numpy(image) for image in images()), _BATCH):
            pooled = pool(run.model.features.all_channels(to_input(batch, compute)))
            qualities.append(run.model.estimator(pooled.to(compute.device)).float().cpu())
    config = {name: value for name, value in run.config.items() if name not in _PLACES}
    return QualityTable(
        sample_id=tuple(ids[number] for number in accepted),
        quality=torch.cat(qualities).numpy(),
        **{name: _column(known[name], at) for name in ("loss_mean", "loss_deviation", "anomaly_loss")},
        seen=np.array([0 if row is None else known["seen"][row] for row in at], np.uint32),
        made_by=f"bisqad {run.config['settings_sha256'][:12]}",
        config_json=json.dumps(config, sort_keys=True),
        shards_sha256=shards_digest(shards.contents),
    )


def _fitted(run: LoadedRun, image: Image) -> Image:
    """A sample of any size as the network sees it."""
    from synthgen.datasets.images import resize

    reading = run.reading
    return np.asarray(reading.crop(resize(image, (reading.resized, reading.resized))), np.uint8)


def _column(values: list[Any], rows: list[int | None]) -> NDArray[np.float32]:
    """Values of some rows; NaN where there are none."""
    found = [None if row is None else values[row] for row in rows]
    return np.array([np.nan if value is None else value for value in found], np.float32)
