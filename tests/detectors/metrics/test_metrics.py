"""Metrics against scikit-learn, and against loops that follow the definitions."""

import json
import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from detectors.metrics import (
    MetricError,
    ScoreHistogram,
    all_metrics,
    au_pro,
    au_pro_reference,
    au_spro,
    au_spro_by_kind,
    auroc,
    average_precision,
    f1_max,
    pro_curve,
    read_defects_config,
    roc_curve,
)
from detectors.metrics import ranking as ranking_module
from detectors.results import ScoredImage
from synthgen.errors import InputDataError


def scored(seed, count=500, levels=None, dtype=np.float32):
    rng = np.random.default_rng(seed)
    labels = (rng.random(count) < 0.2).astype(np.uint8)
    labels[:2] = 0, 1
    scores = rng.normal(size=count) + labels
    return labels, (scores if levels is None else np.round(scores * levels)).astype(dtype)


def blobs(seed, images=4, size=48):
    """Score maps and masks: some discs that are found more or less, and normal images."""
    rng = np.random.default_rng(seed)
    maps, masks = [], []
    for number in range(images):
        mask = np.zeros((size, size), np.uint8)
        for _ in range(0 if number == 0 else rng.integers(1, 4)):
            y, x = rng.integers(5, size - 5, 2)
            cv2.circle(mask, (int(x), int(y)), int(rng.integers(1, 6)), 1, -1)
        noise = ndimage.gaussian_filter(rng.normal(size=(size, size)), 1.5)
        maps.append((noise + rng.uniform(0.2, 0.6) * ndimage.gaussian_filter(mask.astype(float), 1)).astype(np.float32))
        masks.append(mask)
    return maps, masks


@pytest.mark.parametrize("levels", [None, 3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("seed", range(5))
def test_rankings_equal_scikit_learns(seed, levels, dtype):
    reference = pytest.importorskip("sklearn.metrics")
    labels, scores = scored(seed, levels=levels, dtype=dtype)
    assert auroc(labels, scores) == pytest.approx(reference.roc_auc_score(labels, scores), abs=1e-12)
    assert average_precision(labels, scores) == pytest.approx(reference.average_precision_score(labels, scores), abs=1e-12)
    precision, recall, _ = reference.precision_recall_curve(labels, scores)
    best, threshold = f1_max(labels, scores)
    assert best == pytest.approx(np.max(2 * precision * recall / (precision + recall + 1e-30)), abs=1e-9)
    assert reference.f1_score(labels, scores >= threshold) == pytest.approx(best, abs=1e-12)
    false, true = roc_curve(labels, scores)
    assert np.trapezoid(true, false) == pytest.approx(reference.roc_auc_score(labels, scores), abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("levels", [None, 2])
def test_auroc_is_the_chance_that_an_anomaly_scores_higher(seed, levels, monkeypatch):
    labels, scores = scored(seed, 120, levels)
    pairs = [(p > n) + 0.5 * (p == n) for p in scores[labels == 1] for n in scores[labels == 0]]
    assert auroc(labels, scores) == pytest.approx(np.mean(pairs), abs=1e-12)
    monkeypatch.setattr(ranking_module, "_MANY", 1)  # the way of many scores
    assert auroc(labels, scores) == pytest.approx(np.mean(pairs), abs=1e-12)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.booleans(), st.integers(-50, 50)), min_size=4, max_size=60))
def test_only_the_order_matters(pairs):
    labels = np.array([label for label, _ in pairs], np.uint8)
    scores = np.array([score for _, score in pairs], np.float64)
    if len(set(labels)) < 2 or len(set(scores)) < 2:
        return
    for measure in (auroc, average_precision, lambda *both: f1_max(*both)[0]):
        assert measure(labels, scores) == measure(labels, np.exp(scores / 10)) == measure(labels, 1e6 * scores - 3)
        assert 0 <= measure(labels, scores) <= 1


@pytest.mark.parametrize("seed", range(3))
def test_histograms_come_close(seed):
    labels, scores = scored(seed, 20_000)
    histogram, other = (ScoreHistogram(scores.min(), scores.max()) for _ in range(2))
    histogram.add(labels[:7000], scores[:7000])
    other.add(labels[7000:], scores[7000:])
    histogram.merge(other)
    assert histogram.auroc() == pytest.approx(auroc(labels, scores), abs=1e-5)
    assert histogram.average_precision() == pytest.approx(average_precision(labels, scores), abs=1e-3)
    assert histogram.f1_max()[0] == pytest.approx(f1_max(labels, scores)[0], abs=1e-3)


def slow_pro(maps, masks, limit):
    """Every score as a threshold, every region by itself."""
    regions = []
    for anomaly_map, mask in zip(maps, masks, strict=True):
        labels, count = ndimage.label(mask, structure=np.ones((3, 3)))
        regions += [anomaly_map[labels == number] for number in range(1, count + 1)]
    negatives = np.concatenate([anomaly_map[mask == 0] for anomaly_map, mask in zip(maps, masks, strict=True)])
    steps = [*sorted({float(score) for anomaly_map in maps for score in anomaly_map.ravel()}, reverse=True), -math.inf]
    x = np.array([np.mean(negatives > step) for step in steps])
    y = np.array([np.mean([np.mean(region > step) for region in regions]) for step in steps])
    fine = np.linspace(0, limit, 20_001)
    return np.trapezoid(np.interp(fine, x, y), fine) / limit


@pytest.mark.parametrize("limit", [0.05, 0.3, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_au_pro_equals_the_definition(seed, limit):
    maps, masks = blobs(seed)
    assert au_pro(maps, masks, limit) == pytest.approx(slow_pro(maps, masks, limit), abs=2e-3)
    rates, overlaps = pro_curve(maps, masks, limit)
    assert rates[0] == 0
    assert (np.diff(rates) >= 0).all()
    assert (np.diff(overlaps) >= -1e-12).all()


def test_au_pro_of_a_perfect_and_of_a_useless_detector():
    _, masks = blobs(1)
    assert au_pro([mask.astype(np.float32) for mask in masks], masks) == 1.0
    assert au_pro([1 - mask.astype(np.float32) for mask in masks], masks) == pytest.approx(0.0)
    # every pixel but one scores the same: chance, by the slope to (1, 1)
    flat = [np.zeros(mask.shape, np.float32) for mask in masks]
    flat[0][0, 0] = 1
    assert au_pro(flat, masks, 0.3) == pytest.approx(0.15, abs=1e-3)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000), st.floats(0.01, 1), st.integers(1, 6))
def test_au_pro_lies_between_0_and_1_and_needs_only_the_order(seed, limit, levels):
    maps, masks = blobs(seed, images=2, size=24)
    maps = [np.round(levels * one) for one in maps]
    if len(np.unique(maps)) == 1 or not masks[1].any():
        return
    value = au_pro(maps, masks, limit)
    assert 0 <= value <= 1
    assert au_pro([np.float32(3) * one + np.float32(1) for one in maps], masks, limit) == pytest.approx(value, abs=1e-9)
    assert 0 <= au_pro(maps, masks, 1.0) <= 1


def literal_reference_pro(maps, masks):
    """Threshold by threshold: dilate what is found, overlap of each region, false positives without dilation."""
    low, high = min(one.min() for one in maps), max(one.max() for one in maps)
    rates, means = [], []
    for step in range(200):
        threshold = np.float32(low + (high - low) / 200 * step)
        overlaps = []
        for anomaly_map, mask in zip(maps, masks, strict=True):
            found = cv2.dilate((anomaly_map > threshold).astype(np.uint8), np.ones((5, 5), np.uint8))
            labels, count = ndimage.label(mask, structure=np.ones((3, 3)))
            overlaps += [found[labels == number].mean() for number in range(1, count + 1)]
        means.append(np.mean(overlaps))
        wrong = sum(int(((anomaly_map > threshold) & (mask == 0)).sum()) for anomaly_map, mask in zip(maps, masks, strict=True))
        rates.append(wrong / sum(int((mask == 0).sum()) for mask in masks))
    kept = np.array(rates) < 0.3
    x, y = np.array(rates)[kept], np.array(means)[kept]
    x = (x - x.min()) / (x.max() - x.min())
    return abs(np.trapezoid(y, x))


@pytest.mark.parametrize("seed", range(3))
def test_the_reference_codes_pro(seed):
    maps, masks = blobs(seed)
    assert au_pro_reference(maps, masks) == pytest.approx(literal_reference_pro(maps, masks), abs=1e-6)


def slow_spro(maps, channels, limit):
    negatives, regions = [], []
    for anomaly_map, defects in zip(maps, channels, strict=True):
        union = np.zeros(anomaly_map.shape, bool)
        for mask, saturation in defects:
            union |= mask > 0
            regions.append((anomaly_map[mask > 0], saturation))
        negatives.append(anomaly_map[~union])
    negatives = np.concatenate(negatives)
    steps = [*sorted({float(score) for anomaly_map in maps for score in anomaly_map.ravel()}, reverse=True), -math.inf]
    x = np.array([np.mean(negatives > step) for step in steps])
    y = np.array([np.mean([min((scores > step).sum() / saturation, 1) for scores, saturation in regions]) for step in steps])
    fine = np.linspace(0, limit, 20_001)
    return np.trapezoid(np.interp(fine, x, y), fine) / limit


@pytest.mark.parametrize("seed", range(3))
def test_au_spro_equals_the_definition(seed):
    maps, masks = blobs(seed)
    rng = np.random.default_rng(seed)
    channels = []
    for mask in masks:
        labels, count = ndimage.label(mask)
        channels.append([((labels == k).astype(np.uint8), int(rng.integers(1, 30))) for k in range(1, count + 1)])
    ours = au_spro(maps, channels, (0.05, 0.3, 1.0))
    for limit, value in ours.items():
        assert value == pytest.approx(slow_spro(maps, channels, limit), abs=3e-3)
    kinds = ["good", "logical_anomalies", "structural_anomalies", "logical_anomalies"]
    by_kind = au_spro_by_kind(maps, channels, kinds, (0.3,))
    assert by_kind["pooled"][0.3] == pytest.approx(au_spro(maps, channels, (0.3,))[0.3])
    only = [i for i, kind in enumerate(kinds) if kind != "structural_anomalies"]
    assert by_kind["logical_anomalies"][0.3] == au_spro([maps[i] for i in only], [channels[i] for i in only], (0.3,))[0.3]
    assert by_kind["mean"][0.3] == (by_kind["logical_anomalies"][0.3] + by_kind["structural_anomalies"][0.3]) / 2


def test_defects_config(tmp_path):
    path = tmp_path / "defects_config.json"
    one = {"defect_name": "pushpin", "pixel_value": 255, "saturation_threshold": 6300, "relative_saturation": False}
    two = {"defect_name": "scratch", "pixel_value": 254, "saturation_threshold": 0.5, "relative_saturation": True}
    path.write_text(json.dumps([one, two]))
    config = read_defects_config(path)
    assert (config[255].saturation(100), config[255].saturation(10_000)) == (100, 6300)
    assert (config[254].saturation(101), config[254].saturation(1)) == (50, 1)
    for wrong in ("{", "[]]", '[{"pixel_value": 1}]', json.dumps([one, one]), json.dumps([{**one, "pixel_value": 0}])):
        path.write_text(wrong)
        with pytest.raises(InputDataError, match=r"defects_config\.json"):
            read_defects_config(path)
    with pytest.raises(InputDataError, match="missing"):
        read_defects_config(tmp_path / "missing.json")


@pytest.mark.parametrize(
    ("labels", "scores", "says"),
    [
        ([], [], "nothing to measure"),
        ([0, 0], [1.0, 2.0], "no anomaly"),
        ([1, 1], [1.0, 2.0], "nothing normal"),
        ([0, 1], [1.0, 1.0], "same score"),
        ([0, 1], [1.0, math.nan], "finite"),
        ([0, 1], [1.0, math.inf], "finite"),
        ([0, 2], [1.0, 2.0], "other than 0 and 1"),
        ([0, 1, 1], [1.0, 2.0], "do not belong together"),
    ],
)
def test_no_number_for_degenerate_input(labels, scores, says, monkeypatch):
    with pytest.raises(MetricError, match=says):
        auroc(labels, scores)
    if labels:
        monkeypatch.setattr(ranking_module, "_MANY", 0)
        with pytest.raises(MetricError, match=says):
            auroc(labels, scores)


def test_no_number_for_degenerate_maps():
    maps, masks = blobs(0)
    nothing = [np.zeros_like(mask) for mask in masks]
    for measure in (au_pro, au_pro_reference):
        with pytest.raises(MetricError, match="no anomalous region"):
            measure(maps, nothing)
        with pytest.raises(MetricError, match="same score"):
            measure([np.ones_like(one) for one in maps], masks)
        with pytest.raises(MetricError, match="finite"):
            measure([one * np.float32(math.nan) for one in maps], masks)
        with pytest.raises(MetricError, match="belong together"):
            measure([one[:5] for one in maps], masks)
        with pytest.raises(MetricError, match="no normal pixel"):
            measure(maps, [np.ones_like(mask) for mask in masks])
    for limit in (0, -1, 1.5):
        with pytest.raises(MetricError, match="limit"):
            au_pro(maps, masks, limit)
    with pytest.raises(MetricError, match="outside"):
        ScoreHistogram(0, 1).add([0, 1], [0.5, 1.5])
    with pytest.raises(MetricError, match="outside"):
        ScoreHistogram(0, 1).add([0, 1], [0.5, math.nan])
    with pytest.raises(MetricError, match="same score"):
        ScoreHistogram(1, 1)


def image(label, anomaly_map, mask):
    return ScoredImage(
        name=f"{label}",
        label=label,
        kind="good" if not label else "crack",
        score=float(anomaly_map.max()),
        anomaly_map=anomaly_map,
        image=np.zeros((*anomaly_map.shape, 3), np.uint8),
        mask=mask,
    )


def test_all_metrics_and_what_is_missing():
    maps, masks = blobs(3)
    images = [image(int(mask.any()), anomaly_map, mask) for anomaly_map, mask in zip(maps, masks, strict=True)]
    metrics, notes = all_metrics(images)
    names = {"image_auroc", "image_ap", "image_f1_max", "pixel_auroc", "pixel_ap", "pixel_f1_max", "au_pro"}
    assert metrics.keys() == names
    assert not notes
    assert metrics["au_pro"] == au_pro(maps, masks)
    assert all_metrics(images, "paper")[0]["au_pro"] == au_pro_reference(maps, masks)
    unmasked = [images[0], image(1, maps[1], None), *images[2:]]
    metrics, notes = all_metrics(unmasked)
    assert metrics.keys() == names
    assert "1 of 3 anomalous images have no mask" in notes["pixel"]
    metrics, notes = all_metrics([images[0], image(1, maps[1], None)])
    assert metrics.keys() == {"image_auroc", "image_ap", "image_f1_max"}
    assert "no mask" in notes["pixel"]
    metrics, notes = all_metrics(images[1:])
    assert not {"image_auroc", "image_ap", "image_f1_max"} & set(metrics)
    assert all("nothing normal" in notes[f"image_{name}"] for name in ("auroc", "ap", "f1_max"))
    assert "pixel_auroc" in metrics


def test_very_many_pixels_are_binned(monkeypatch):
    from detectors.metrics import protocols

    maps, masks = blobs(4)
    images = [image(int(mask.any()), anomaly_map, mask) for anomaly_map, mask in zip(maps, masks, strict=True)]
    exact, _ = all_metrics(images)
    monkeypatch.setattr(protocols, "_EXACT_PIXELS", 10)
    binned, notes = all_metrics(images)
    assert "bins" in notes["pixel_bins"]
    assert binned["pixel_auroc"] == pytest.approx(exact["pixel_auroc"], abs=1e-4)


@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.parametrize("measure", [auroc, average_precision, f1_max])
def test_of_one_class_there_is_no_value(measure, label):
    """Average precision of anomalies alone would be 1, whatever the detector says."""
    with pytest.raises(MetricError, match="nothing normal" if label else "no anomaly"):
        measure([label] * 5, [1, 5, 2, 4, 3])
