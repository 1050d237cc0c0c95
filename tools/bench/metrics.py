"""How long metrics take, beside scikit-learn: CPU time on one thread, in one run.

python -m tools.bench metrics [--pixels 8000000]
"""

import argparse

import numpy as np

from tools.bench.support.records import Outcome
from tools.bench.support.tables import Column, Table
from tools.bench.support.timing import Variant, one_thread, take_turns

MAPS, SIDE = 83, 288  # a category's test split


def made_up(pixels: int) -> tuple[np.ndarray, np.ndarray, list[np.ndarray], list[np.ndarray]]:
    """Labels and scores of pixels, masks and maps of images."""
    import cv2

    rng = np.random.default_rng(0)
    labels = (rng.random(pixels) < 0.03).astype(np.uint8)
    scores = (rng.normal(size=pixels) + labels).astype(np.float32)
    masks = [np.zeros((SIDE, SIDE), np.uint8) for _ in range(MAPS)]
    for mask in masks[20:]:
        cv2.circle(mask, tuple(int(v) for v in rng.integers(30, SIDE - 30, 2)), int(rng.integers(3, 25)), 1, -1)
    maps = [(rng.random(mask.shape) + 0.5 * cv2.GaussianBlur(mask, (0, 0), 4)).astype(np.float32) for mask in masks]
    return labels, scores, masks, maps


def add_options(parser: argparse.ArgumentParser) -> None:
    """What can be said."""
    parser.add_argument("--pixels", type=int, default=8_000_000)


def run(options: argparse.Namespace) -> Outcome:
    """One table."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    from detectors.metrics import ScoreHistogram, au_pro, au_pro_reference, auroc, rank

    labels, scores, masks, maps = made_up(options.pixels)
    low, high = float(scores.min()), float(scores.max())

    def histogram(_: int) -> float:
        counts = ScoreHistogram(low, high)
        counts.add(labels, scores)
        return counts.auroc()

    def ranking(_: int) -> tuple[float, ...]:
        ranked = rank(labels, scores)
        return ranked.auroc(), ranked.average_precision(), ranked.f1_max()

    both, ours = "AUROC and AP, scikit-learn", "AUROC, exact"
    variants = {
        "AUROC, scikit-learn": lambda _: roc_auc_score(labels, scores),
        ours: lambda _: auroc(labels, scores),
        "AUROC, histogram of 2^16 bins": histogram,
        both: lambda _: (roc_auc_score(labels, scores), average_precision_score(labels, scores)),
        "AUROC, AP and F1, exact": ranking,
        f"AU-PRO of {MAPS} maps of {SIDE} px": lambda _: au_pro(maps, masks),
        "AU-PRO of the reference code": lambda _: au_pro_reference(maps, masks),
    }
    with one_thread():
        timings = take_turns({name: Variant(call) for name, call in variants.items()}, 3)
    peers = {ours: "AUROC, scikit-learn", "AUROC, histogram of 2^16 bins": "AUROC, scikit-learn"}
    peers |= {"AUROC, AP and F1, exact": both, f"AU-PRO of {MAPS} maps of {SIDE} px": "AU-PRO of the reference code"}
    exact = roc_auc_score(labels, scores)
    off = {ours: abs(auroc(labels, scores) - exact), "AUROC, histogram of 2^16 bins": abs(histogram(0) - exact)}
    rows = [
        [name, timing.median / 1000, timings[peers[name]].median / timing.median if name in peers else None, off.get(name)]
        for name, timing in timings.items()
    ]
    columns = [Column(""), Column("s", ("{:.2f}",)), Column("times faster than its peer", ("{:.1f}",))]
    return Outcome({"metrics": Table([*columns, Column("off by", ("{:.0e}",))], rows)})
