"""How long metrics take, next to scikit-learn: CPU time on one thread, in one run.

python tools/bench/metrics.py
"""

import cv2
import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

from detectors.metrics import ScoreHistogram, au_pro, au_pro_reference, auroc, rank
from tools.bench.timing import Variant, one_thread, take_turns

PIXELS = 8_000_000


def main():
    rng = np.random.default_rng(0)
    labels = (rng.random(PIXELS) < 0.03).astype(np.uint8)
    scores = (rng.normal(size=PIXELS) + labels).astype(np.float32)
    low, high = float(scores.min()), float(scores.max())
    masks = [np.zeros((288, 288), np.uint8) for _ in range(83)]
    for mask in masks[20:]:
        cv2.circle(mask, tuple(int(v) for v in rng.integers(30, 258, 2)), int(rng.integers(3, 25)), 1, -1)
    maps = [(rng.random(mask.shape) + 0.5 * cv2.GaussianBlur(mask, (0, 0), 4)).astype(np.float32) for mask in masks]

    def histogram(_):
        counts = ScoreHistogram(low, high)
        counts.add(labels, scores)
        return counts.auroc()

    def all_of_a_ranking(_):
        ranked = rank(labels, scores)
        return ranked.auroc(), ranked.average_precision(), ranked.f1_max()

    variants = {
        "AUROC, scikit-learn": lambda i: roc_auc_score(labels, scores),
        "AUROC, exact": lambda i: auroc(labels, scores),
        "AUROC, histogram": histogram,
        "AUROC and AP, scikit-learn": lambda i: (roc_auc_score(labels, scores), average_precision_score(labels, scores)),
        "AUROC, AP and F1, exact": all_of_a_ranking,
        "AU-PRO of 83 maps of 288 px": lambda i: au_pro(maps, masks),
        "AU-PRO of the reference code": lambda i: au_pro_reference(maps, masks),
    }
    with one_thread():
        timings = take_turns({name: Variant(run) for name, run in variants.items()}, 3)
    base = timings["AUROC, scikit-learn"].median
    for name, timing in timings.items():
        print(f"{name:30} {timing.median / 1000:6.2f} s   {base / timing.median:5.1f} x scikit-learn's AUROC")
    print(f"difference of AUROC: histogram {abs(histogram(0) - roc_auc_score(labels, scores)):.1e}")


if __name__ == "__main__":
    main()
