"""Reports, overlays and tables, of small made-up results."""

import base64
import re

import cv2
import numpy as np
import pytest

from detectors.evaluation.comparison import comparison_table, format_csv, format_markdown, read_results
from detectors.evaluation.report import write_report
from detectors.inference.overlays import display_range, heatmap, overlay, prediction_mask, thresholds_of, upscale
from detectors.results import Evaluation, ScoredImage, Thresholds
from synthgen.errors import InputDataError, IntegrityError


def scored(name, label, *, mask=True, seed=0, kind=None):
    rng = np.random.default_rng(seed)
    truth = np.zeros((40, 50), np.uint8)
    if label:
        truth[10:20, 10:30] = 1
    anomaly_map = (rng.random((40, 50)) * 0.3 + 0.6 * truth).astype(np.float32)
    image = rng.integers(0, 255, (40, 50, 3), dtype=np.uint8)
    return ScoredImage(
        name=name,
        label=label,
        kind=kind or ("crack" if label else "good"),
        score=float(anomaly_map.max()),
        anomaly_map=anomaly_map,
        image=image,
        mask=truth if mask else None,
    )


def pictures_of(page):
    data = [base64.b64decode(text) for text in re.findall(r"data:image/png;base64,([^\"]+)", page)]
    pictures = [cv2.imdecode(np.frombuffer(one, np.uint8), cv2.IMREAD_COLOR) for one in data]
    assert all(one is not None for one in pictures)
    return pictures


def test_a_report_holds_everything_in_one_file(tmp_path):
    images = tuple(scored(f"n{k}", 0, seed=k) for k in range(9)) + tuple(scored(f"a{k}", 1, seed=k) for k in range(9))
    evaluation = Evaluation(images, {"image_auroc": 0.98765}, {"au_pro": "because"}, "strict", Thresholds(0.5, 0.4, 0.2))
    path = write_report(tmp_path / "report.html", evaluation, "PBAS on <tile>", {"seed": "3"})
    page = path.read_text()
    for said in ("PBAS on &lt;tile&gt;", "98.77 %", "because", "0.5000", "<td>3</td>", "<td>crack</td>"):
        assert said in page
    assert 'class="stamp">' not in page
    assert "<script" not in page
    assert not re.search(r"(src|href)=\"(?!data:)", page)
    assert len(pictures_of(page)) == 3 + 2 * (6 + 6 + 3)  # curves; most suspicious normal, missed and best anomalies
    assert not list(tmp_path.glob(".tmp*"))


@pytest.mark.parametrize(
    "images",
    [
        (scored("one", 1),),
        (scored("one", 0),),
        (scored("one", 0), scored("two", 1, mask=False)),
        (
            ScoredImage(
                name="x",
                label=None,
                kind="",
                score=0.5,
                anomaly_map=np.full((8, 8), 0.5, np.float32),
                image=np.zeros((8, 8, 3), np.uint8),
                mask=None,
            ),
        ),
        (scored("\udcff<b>.png", 1), scored("ü", 0)),
    ],
)
def test_a_report_of_whatever_there_is(images, tmp_path):
    page = write_report(tmp_path / "r.html", Evaluation(images, {}), "t", {}, stamp="Selected on the test split").read_text()
    assert 'class="stamp">Selected on the test split' in page
    assert "<b>" not in page
    assert pictures_of(page)


def test_heat_rises_where_scores_do():
    anomaly_map = np.linspace(0, 1, 256, dtype=np.float32)[None].repeat(4, 0)
    colours = heatmap(anomaly_map, 0.2, 0.8).astype(int)
    brightness = colours.sum(2)[0]
    assert (np.diff(brightness) >= 0).mean() > 0.95
    assert brightness[-1] > brightness[0] + 400
    gray = np.full((4, 256, 3), 128, np.uint8)
    cold = overlay(gray, anomaly_map, 0.2, 0.8)[:, :51]
    assert np.array_equal(cold, gray[:, :51])  # what scores nothing stays as it is


def test_outlines_and_masks():
    anomaly_map = np.zeros((64, 64), np.float32)
    anomaly_map[20:40, 20:40] = 1
    mask = np.zeros((64, 64), np.uint8)
    mask[4:10, 4:10] = 1
    picture = overlay(np.zeros((64, 64, 3), np.uint8), anomaly_map, 0, 2, threshold=0.5, mask=mask)
    assert (picture[20, 20:40] == 255).all()
    assert tuple(picture[4, 4]) == (60, 220, 60)
    assert prediction_mask(anomaly_map, 0.5).sum() == 400
    assert prediction_mask(anomaly_map, 1.0).sum() == 0
    assert upscale(anomaly_map, (128, 32)).shape == (128, 32)


def test_one_range_for_all_images():
    images = (scored("n", 0), scored("a", 1))
    known = Thresholds(0.5, 0.4, 0.3)
    assert thresholds_of(Evaluation(images, {}, thresholds=known)) == known
    assert display_range(known) == pytest.approx((0.3, 0.5))
    low, high = display_range(thresholds_of(Evaluation(images, {})))
    assert low < high == pytest.approx(images[1].anomaly_map.max())


def results(seed, auroc, **changes):
    plain = {
        "format": "detectors-metrics", "format_version": 1, "dataset": "mvtec", "category": "bottle", "detector": "pbas",
        "preset": "paper", "synthesis": "ray", "selection": "last", "protocol": "strict", "split": "test", "size": 256,
        "backbone": "resnet18", "backbone_sha256": "0123456789abcdef", "settings_sha256": "ab", "seed": seed,
        "metrics": {"image_auroc": auroc},
    }  # fmt: skip
    return plain | changes


def test_runs_that_differ_by_the_seed_are_one_row():
    rows = comparison_table([results(1, 0.9), results(0, 0.8), results(2, 0.97), results(0, 0.99, selection="test-best")])
    assert [(row["seeds"], row["selection"]) for row in rows] == [([0, 1, 2], "last"), ([0], "test-best")]
    assert rows[0]["metrics"]["image_auroc"]["mean"] == pytest.approx(0.89)
    assert rows[0]["metrics"]["image_auroc"]["deviation"] == pytest.approx(np.std([0.9, 0.8, 0.97], ddof=1))
    assert rows[1]["metrics"]["image_auroc"]["deviation"] is None
    text = format_markdown(rows)
    assert "89.00 ± 8.54" in text
    assert "test-best*" in text
    assert text.splitlines()[-1].startswith("* selected on the test split")
    assert "*" not in format_markdown(rows[:1])
    assert format_csv(rows).count("\n") == 3


def test_results_that_are_none(tmp_path):
    with pytest.raises(InputDataError, match="detectors eval"):
        read_results(tmp_path)
    for wrong in ("{", "[]", '{"format": "x"}', '{"format": "detectors-metrics", "format_version": 1}'):
        (tmp_path / "metrics.json").write_text(wrong)
        with pytest.raises(IntegrityError, match=r"metrics\.json"):
            read_results(tmp_path)
