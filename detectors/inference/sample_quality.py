"""What samples are worth to a detector that can say so."""

from pathlib import Path

from detectors.catalog import all_detectors
from detectors.inference.loading import LoadedRun
from synthgen.errors import UsageError
from synthgen.runs.devices import Compute
from synthgen.shards.quality import QualityTable


def score_samples(run: LoadedRun, shards: Path, compute: Compute) -> QualityTable:
    """The quality of every accepted sample of the run's category.

    Args:
        run: of a detector that scores samples.
        shards: a folder of shards, or one shard.
        compute: where to.

    Raises:
        UsageError: the detector scores no samples, or this run has not learned to.
        InputDataError: the shards hold no accepted sample.
        IntegrityError: a shard is damaged.
    """
    score = run.detector.score_samples
    if score is None:
        able = " or ".join(detector.name for detector in all_detectors() if detector.score_samples is not None)
        raise UsageError(f"{run.path}: {run.detector.name} cannot tell what samples are worth. Train {able or 'another one'}.")
    return score(run.model, run.path, run.preprocessing, shards, compute)
