"""`synthgen worth`: the fixed detector, its metrics against the exact ones, and the command from shards to report."""

import json
import shutil

import cv2
import numpy as np
import pytest

from tests.support.builders import picture, write
from tests.support.commands import COMMAND, environment, synthgen

torch = pytest.importorskip("torch")

from detectors.data.backbones import load_backbone  # noqa: E402  needs torch
from detectors.metrics import all_metrics  # noqa: E402
from detectors.real.defects import read_real  # noqa: E402
from detectors.real.worth import WorthOptions, measure_worth  # noqa: E402
from detectors.real.worth.head import GRID, LEVELS, SIDE, anomaly_maps, embed, shrink_mask, train_head  # noqa: E402
from detectors.real.worth.measure import NEAREST, REAL, WHOLE, Worth, suggested_weights  # noqa: E402
from detectors.real.worth.scoring import Scores, _smooth  # noqa: E402
from detectors.real.worth.shots import BOTH, COPIES, RAW, TYPES_ALONE  # noqa: E402
from detectors.real.worth.trial import Row  # noqa: E402
from detectors.results import ScoredImage  # noqa: E402
from synthgen.errors import InputDataError  # noqa: E402

CPU = torch.device("cpu")


def test_metrics_from_histograms_are_the_exact_ones():
    rng = np.random.default_rng(0)
    maps = rng.random((9, 64, 64)).astype(np.float32) * 0.6
    masks, kinds = [], []
    for k in range(9):
        mask = np.zeros((SIDE, SIDE), np.uint8)
        if k >= 3:
            for _ in range(3):
                cv2.circle(mask, tuple(int(v) for v in rng.integers(20, SIDE - 20, 2)), int(rng.integers(3, 25)), 1, -1)
            maps[k] += cv2.resize(mask, (64, 64), interpolation=cv2.INTER_AREA) * 0.3
        masks.append(mask)
        kinds.append("good" if k < 3 else "hole" if k < 6 else "dent")
    scores = Scores(maps, masks, kinds, "good")
    for kind in (None, "hole", "dent"):
        keep = [k for k in range(9) if kinds[k] == "good" or kind in (None, kinds[k])]
        images = [
            ScoredImage(
                name=str(k),
                label=int(k >= 3),
                kind=kinds[k],
                score=float(_smooth(maps[k]).max()),
                anomaly_map=_smooth(maps[k]),
                image=masks[k],
                mask=masks[k],
            )
            for k in keep
        ]
        exact, _ = all_metrics(images)
        found = scores.metrics(kind)
        assert found["image_auroc"] == pytest.approx(exact["image_auroc"], abs=1e-6)
        for name in ("pixel_auroc", "pixel_ap", "au_pro"):
            assert found[name] == pytest.approx(exact[name], abs=2e-3), name


def test_images_without_masks_give_image_figures_alone():
    maps = np.random.default_rng(0).random((4, 8, 8)).astype(np.float32)
    scores = Scores(maps, [np.zeros((SIDE, SIDE), np.uint8)] * 2 + [None, None], ["good", "good", "hole", "hole"], "good")
    assert scores.metrics().keys() == {"image_auroc"}
    assert scores.metrics("nothing of the kind") == {}


def test_the_head_learns_what_is_marked_and_the_same_twice():
    """Features whose first channel shows the anomaly."""
    rng = np.random.default_rng(0)
    normal = rng.normal(0, 1, (6, GRID, GRID, 8)).astype(np.float16)
    synthetic, masks = rng.normal(0, 1, (6, GRID, GRID, 8)).astype(np.float16), np.zeros((6, 2 * GRID, 2 * GRID), np.uint8)
    for k in range(6):
        y, x = rng.integers(2, GRID - 8, 2)
        synthetic[k, y : y + 6, x : x + 6, 0] += 6
        masks[k, 2 * y : 2 * y + 12, 2 * x : 2 * x + 12] = 1
    heads = [train_head(normal, synthetic, masks, 3, 60, CPU) for _ in range(2)]
    maps = [anomaly_maps(head, synthetic, CPU) for head in heads]
    assert np.array_equal(*maps)
    assert maps[0][masks > 0].mean() > maps[0][masks == 0].mean() + 0.4


def test_no_defect_vanishes_from_a_mask():
    mask = np.zeros((512, 512), np.uint8)
    mask[100, 50:400] = 1
    assert shrink_mask(mask, 64).sum() >= 43
    assert embed(load_backbone("resnet18", LEVELS, "random"), [], 0, CPU).shape[0] == 0


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """Shards of the demo set, and a folder of real defects: cut from other samples of it."""
    folder = tmp_path_factory.mktemp("worth")
    common = ["--dataset", "demo", "--categories", "gear", "--size", "128", "--sample", "40%", "--max-rejected", "1", "-j", 1]
    for name, seed in (("shards", 0), ("other", 1)):
        done = synthgen("build", *common, "--types", "spot,break", "--per-image", 1, "--seed", seed, "--out", folder / name)
        assert done.returncode == 0, done.stderr
    from synthgen.shards import ShardDataset

    for sample in ShardDataset(folder / "other"):
        if sample.label:
            for place, pixels in (
                (sample.spec.type, sample.image[..., ::-1]),
                (f"ground_truth/{sample.spec.type}", 255 * sample.mask),
            ):
                path = folder / "real" / place / (sample.spec.sample_id.replace("/", "-") + ".png")
                path.parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(path), pixels)
    return folder


def test_worth_from_shards_to_report(demo, tmp_path):
    done = synthgen(
        "worth", demo / "shards", "--real", demo / "real", "--weights", "backbone=random", "--seeds", 2, "--steps", 4,
        "--out", tmp_path / "out",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert str(tmp_path / "out" / "worth.html") in done.stdout
    measured = json.loads((tmp_path / "out" / "worth.json").read_text())
    names = {row["name"] for row in measured["rows"]}
    assert {WHOLE, "spot", "break", NEAREST} <= names
    assert {row["seed"] for row in measured["rows"]} == {0, 1}
    for row in measured["rows"]:
        assert row["kinds"].keys() == {"spot", "break"}
        assert all(0 <= value <= 1 for value in row["metrics"].values())
        assert row["metrics"].keys() == {"image_auroc", "pixel_auroc", "pixel_ap", "au_pro"}
    assert sum(measured["suggested_weights"].values()) == pytest.approx(1, abs=0.01)
    page = (tmp_path / "out" / "worth.html").read_text()
    assert "Suggested mixture" in page
    assert "<td>spot</td>" in page


def test_measuring_twice_gives_the_same(demo):
    options = WorthOptions(weights="random", samples=12, normals=8, seeds=(0,), steps=3)
    torch.manual_seed(0)
    first = measure_worth(demo / "shards", demo / "real", options, CPU)
    torch.manual_seed(0)
    again = measure_worth(demo / "shards", demo / "real", options, CPU)
    assert first.rows == again.rows
    assert first.facts["normal test images"].startswith("kept from")


def test_a_learning_curve_shows_some_defects_and_is_tested_on_the_others(demo, tmp_path):
    done = synthgen(
        "worth", demo / "shards", "--real", demo / "real", "--weights", "backbone=random", "--seeds", 1, "--steps", 3,
        "--samples", 12, "--shots", "1,2", "--out", tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = [row for row in json.loads((tmp_path / "worth.json").read_text())["rows"] if row["shots"]]
    assert [(row["shots"], row["name"]) for row in rows] == [
        (shots, name) for shots in (1, 2) for name in (TYPES_ALONE, RAW, COPIES, BOTH)
    ]
    assert {row["samples"] for row in rows if row["name"] == RAW} == {2, 4}  # of each of two kinds
    page = (tmp_path / "worth.html").read_text()
    assert "2 of each kind" in page
    wrong = synthgen("worth", demo / "shards", "--real", demo / "real", "--shots", "few")
    assert (wrong.returncode, "--shots few: expected whole numbers" in wrong.stderr) == (2, True)


def test_images_in_a_folder_that_is_called_ok_are_normal(tmp_path):
    for name in ("OK", "NG"):
        write(tmp_path / name / "a.png", picture(1))
    assert read_real(tmp_path, (32, 32)).kinds == ["NG", "good"]


def test_real_defects_in_mvtec_layout_are_the_same(demo, tmp_path):
    shutil.copytree(demo / "real", tmp_path / "test", ignore=shutil.ignore_patterns("ground_truth"))
    shutil.copytree(demo / "real" / "ground_truth", tmp_path / "ground_truth")
    (tmp_path / "test" / "good").mkdir()
    cv2.imwrite(str(tmp_path / "test" / "good" / "a.png"), np.zeros((128, 128, 3), np.uint8))
    plain, layout = read_real(demo / "real", (128, 128)), read_real(tmp_path, (128, 128))
    assert sorted(layout.kinds) == sorted([*plain.kinds, "good"])
    bad = [k for k, kind in enumerate(layout.kinds) if kind != "good"]
    assert all(np.array_equal(layout.masks[k], mask) for k, mask in zip(bad, plain.masks, strict=True))


def test_bad_input_is_named(demo, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputDataError, match="no image of a defect"):
        read_real(tmp_path / "empty", (64, 64))
    with pytest.raises(InputDataError, match="no such folder"):
        read_real(tmp_path / "nowhere", (64, 64))
    with pytest.raises(InputDataError, match="no such category"):
        measure_worth(demo / "shards", demo / "real", WorthOptions(category="gaer", weights="random"), CPU)


def test_without_torch_the_way_out_is_said(tmp_path):
    import subprocess

    code = "import sys; sys.modules['torch'] = None; " + COMMAND[-1]
    done = subprocess.run(
        [*COMMAND[:-1], code, "worth", "x", "--real", "y"], capture_output=True, text=True, env=environment(), check=False
    )
    assert done.returncode == 2
    assert ".[detectors]" in done.stderr


def test_weights_are_suggested_by_kind_of_defect():
    rows = []
    for name, hole, dent in (("a", 0.9, 0.1), ("b", 0.1, 0.8), ("c", 0.1, 0.1)):
        kinds = {"hole": {"pixel_ap": hole, "image_auroc": 0.5}, "dent": {"pixel_ap": dent, "image_auroc": 0.5}}
        rows.append(Row(name, 0, 10, {}, kinds))
    rows.append(Row(REAL, 0, 10, {}, {"hole": {"pixel_ap": 1.0}, "dent": {"pixel_ap": 1.0}}))
    assert suggested_weights(Worth(tuple(rows), "x", {})) == {"a": 0.5, "b": 0.5, "c": 0.0}
