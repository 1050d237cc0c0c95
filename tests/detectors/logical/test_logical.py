"""The LogicAL localizer as users run it: from edge edits on the fly, from shards of them, from cracks; small networks."""

import json
import signal

import cv2
import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from detectors.contract import TrainingOptions
from detectors.data.preprocessing import Preprocessing
from detectors.data.training_data import from_dataset, from_shards, open_shards
from detectors.logical.config import make_config
from detectors.logical.data import batches, prepare
from detectors.logical.detector import DETECTOR, assemble
from synthgen.runs.devices import Compute
from synthgen.runs.folder import load_tensors
from synthgen.shards import ShardDataset
from tests.detectors.commands import RESUMED, assert_same_model, detectors, start
from tests.support.builders import build_mvtec, write
from tests.support.commands import synthgen
from tests.support.edge_scenes import SIDE, SMALL, picture

NET = 64
READING = Preprocessing((NET, NET), (NET, NET), (NET, NET))
TINY = ["--preset", "cpu", "--size", NET, "--device", "cpu", "--batch-size", 4, "--epochs", 3, "--set", "rec_width=8",
        "--set", "seg_width=4"]  # fmt: skip
CATEGORY = "screw_bag"
HERE = ["--dataset", "mvtec_loco", "--category", CATEGORY]

pytestmark = pytest.mark.usefixtures("one_thread")


def write_loco(root):
    """Scenes of parts in MVTec LOCO's layout; in the anomalies, a part is painted over."""
    base = root / CATEGORY
    for number in range(12):
        write(base / "train/good" / f"{number:03}.png", picture(number))
    for number in range(5):
        write(base / "test/good" / f"{number:03}.png", picture(100 + number))
    for kind, first in (("logical_anomalies", 200), ("structural_anomalies", 300)):
        for number in range(4):
            pixels, mask = picture(first + number), np.zeros((SIDE, SIDE), np.uint8)
            mask[4:22, 4:22] = 255 if kind.startswith("logical") else 254
            pixels[mask > 0] = 70 if kind.startswith("logical") else 250
            write(base / "test" / kind / f"{number:03}.png", pixels)
            write(base / "ground_truth" / kind / f"{number:03}" / "000.png", mask)
    settings = [
        {"defect_name": "gone", "pixel_value": 255, "saturation_threshold": 100, "relative_saturation": False},
        {"defect_name": "painted", "pixel_value": 254, "saturation_threshold": 1.0, "relative_saturation": True},
    ]
    (base / "defects_config.json").write_text(json.dumps(settings))
    return root


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_loco(tmp_path_factory.mktemp("loco"))


@pytest.fixture(scope="module")
def generator(root, tmp_path_factory):
    out = tmp_path_factory.mktemp("generators") / "loco"
    done = synthgen("train", "edge-generator", "--dataset", "mvtec_loco", "--root", root, *SMALL, "--set", "steps=150",
                    "--device", "cpu", "--out", out)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return out


def built(root, generator, out, mode):
    done = synthgen("build", "--dataset", "mvtec_loco", "--root", root, "--types", "logical", "--set", "logical.threshold=0.2",
                    "--set", f"logical.mode={mode}", "--edge-generator", generator, "--size", SIDE, "--device", "cpu",
                    "--max-rejected", 1, "--out", out, "-j", 1)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="module")
def shards(root, generator, tmp_path_factory):
    return built(root, generator, tmp_path_factory.mktemp("shards") / "set", "composite")


@pytest.fixture(scope="module")
def run(root, generator, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "bag"
    done = detectors("train", "logical", *HERE, "--root", root, "--edge-generator", generator, "--per-image", 1, *TINY,
                     "--out", out)  # fmt: skip
    assert done.stdout.split() == [str(out)]
    assert "warning" not in done.stderr
    return out


@pytest.fixture(scope="module")
def evaluated(run, root, tmp_path_factory):
    maps = tmp_path_factory.mktemp("maps")
    table = detectors("eval", run, "--device", "cpu", "--maps", maps).stdout
    assert "au_spro_logical" in table
    return run, maps


def ready(data, size=NET, options=None, **changes):
    """What a training would train on, and the settings."""
    config = make_config("cpu", "mvtec_loco", CATEGORY, {"size": size, "batch_size": 4} | changes)
    compute = Compute(torch.device("cpu"))
    with prepare(assemble(config, None, compute), data, options or TrainingOptions(compute=compute), None) as found:
        return found, config


def test_a_run_has_everything(run):
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    assert {"loss", "loss_image", "loss_jnd", "loss_edge", "loss_mask"} <= lines[0].keys()
    assert lines[-1]["loss"] < lines[0]["loss"]
    config, card = (json.loads((run / name).read_text()) for name in ("config.json", "split.json"))
    assert (config["detector"], config["backbone_sha256"]) == ("logical", "none")
    assert len(config["edge_generator_sha256"]) == 64
    assert card["overlap"] == 0
    assert set(card["held_out_anomalies"]) <= {"logical", "structural"}
    assert (run / "sheet.png").stat().st_size > 1000
    tensors, state = load_tensors(run / "model.safetensors")
    assert {name.partition(".")[0] for name in tensors} == {"reconstruction", "neck", "localization"}
    assert 0 <= state["thresholds"]["image"] <= 1


def test_evaluation_tells_kinds_apart_and_both_scores(evaluated):
    run, _ = evaluated
    metrics = json.loads((run / "metrics.json").read_text())["metrics"]
    wanted = {
        f"{name}{part}" for name in ("image_auroc", "image_auroc_max") for part in ("", "_logical", "_structural", "_mean")
    }
    wanted |= {f"au_spro_{part}" for part in ("logical", "structural", "mean", "pooled")}
    assert wanted | {"pixel_auroc", "pixel_ap", "au_pro"} <= metrics.keys()
    for name in ("image_auroc", "image_auroc_max", "au_spro"):
        assert metrics[f"{name}_mean"] == pytest.approx((metrics[f"{name}_logical"] + metrics[f"{name}_structural"]) / 2)
    page = (run / "report.html").read_text()
    assert "(image, reconstruction, edges, JND, scores)" in page


def test_maps_are_files_as_locos_evaluation_reads_them(evaluated):
    _, maps = evaluated
    found = sorted(path.relative_to(maps).as_posix() for path in maps.rglob("*.tiff"))
    assert len(found) == 13
    assert found[0] == f"{CATEGORY}/test/good/000.tiff"
    with Pillow.open(maps / found[0]) as file:
        pixels = np.asarray(file)
    assert (pixels.shape, pixels.dtype) == ((SIDE, SIDE), np.float32)
    np.testing.assert_array_equal(pixels, cv2.imread(str(maps / found[0]), cv2.IMREAD_UNCHANGED))
    assert 0 <= pixels.min() < pixels.max() <= 1


def test_it_predicts_and_compares(evaluated, root, tmp_path):
    run, _ = evaluated
    detectors("predict", run, root / CATEGORY / "test", "--out", tmp_path / "out", "--device", "cpu")
    assert len(json.loads((tmp_path / "out/scores.json").read_text())) == 13
    assert cv2.imread(str(next((tmp_path / "out").glob("*_overlay.png")))).shape == (SIDE, SIDE, 3)
    assert "| logical " in detectors("compare", run).stdout


def test_it_exports(run, tmp_path):
    pytest.importorskip("onnxruntime")
    out = detectors("export", run, "--out", tmp_path / "model.onnx")
    assert out.stdout.strip() == str(tmp_path / "model.onnx")
    assert "differ by at most" in out.stderr


def test_a_training_that_is_killed_resumes_to_the_same_bytes(run, root, generator, tmp_path):
    out = tmp_path / "killed"
    arguments = ["train", "logical", *HERE, "--root", root, "--edge-generator", generator, "--per-image", 1, *TINY]
    arguments += ["--out", out]
    with start(RESUMED, *arguments) as killed:
        _, err = killed.communicate(timeout=200)
    assert killed.returncode == -signal.SIGKILL, err
    assert not (out / "model.safetensors").exists()
    detectors(*arguments)
    assert_same_model(out, run)


def test_cracks_train_it_too_and_sizes_need_not_be_square(tmp_path):
    bottles = build_mvtec(tmp_path / "mvtec", ("bottle",), normals=9, size=(80, 80))
    done = detectors("train", "logical", "--dataset", "mvtec", "--root", bottles, "--category", "bottle", *TINY, "--types",
                     "crack,spot", "--per-image", 1, "--size", "32x64", "--epochs", 1, "--out", tmp_path / "run")  # fmt: skip
    assert "warning" not in done.stderr
    detectors("eval", tmp_path / "run", "--device", "cpu")
    assert json.loads((tmp_path / "run/metrics.json").read_text())["size"] == "32x64"


def test_shards_of_edits_want_the_generator_that_made_them(shards, generator, tmp_path):
    plain = detectors("train", "logical", "--shards", shards, *TINY, "--epochs", 1, "--out", tmp_path / "plain")
    assert "--edge-generator" in plain.stderr
    assert "texture" in plain.stderr
    told = detectors("train", "logical", "--shards", shards, "--edge-generator", generator, *TINY, "--epochs", 1,
                     "--out", tmp_path / "told")  # fmt: skip
    assert "warning" not in told.stderr


def test_redrawn_places_differ_in_texture_alone(shards, generator):
    reading = Preprocessing((SIDE, SIDE), (SIDE, SIDE), (SIDE, SIDE))
    data = from_shards(open_shards(shards, None, None), reading, learn=True)
    compute = Compute(torch.device("cpu"))
    found, _ = ready(data, SIDE - SIDE % 32, TrainingOptions(compute=compute, edge_generator=generator))
    assert all(patch.generated is not None for patch in found.patches)
    edits, redraws = [], []
    for patch in found.patches:
        y0, x0, y1, x1 = patch.box
        before = found.normals[patch.normal][y0:y1, x0:x1].astype(int)
        edits.append(np.abs(patch.image - before)[patch.mask > 0].mean())
        redraws.append(np.abs(patch.generated - before)[patch.mask > 0].mean())
    assert 0 < np.mean(redraws) < np.mean(edits)


def test_the_papers_whole_pictures_bring_their_own_normal_ones(root, generator, tmp_path):
    shards = built(root, generator, tmp_path / "set", "paper")
    reading = Preprocessing((SIDE, SIDE), (SIDE, SIDE), (SIDE, SIDE))
    data = from_shards(open_shards(shards, None, None), reading, learn=True)
    found, _ = ready(data)
    kept = [sample for sample in data.learned if sample.label]
    for patch, sample in zip(found.patches, kept, strict=True):
        y0, x0, y1, x1 = patch.box
        np.testing.assert_array_equal(patch.generated, sample.generated[y0:y1, x0:x1])
    assert ShardDataset(shards)[0].generated is not None


def test_batches_are_mixed_as_they_should_be(root, generator):
    compute = Compute(torch.device("cpu"))
    options = TrainingOptions(compute=compute, edge_generator=generator)
    data = from_dataset("mvtec_loco", root, CATEGORY, READING, learn=DETECTOR.learns, edges=options.edge_assets)
    found, config = ready(data, NET, options)
    rows = []
    for batch in batches(found, config, 0, 1):
        plain = torch.from_numpy(found.normals)[batch.rows]
        changed = (batch.inputs != plain).flatten(1).any(1)
        marked = batch.masks.flatten(1).any(1)
        assert marked.sum() == round(len(marked) / 2)
        assert not (marked & ~changed).any()
        assert (changed & ~marked).sum() == round(len(marked) / 4)
        rows += batch.rows.tolist()
    assert len(rows) == len(found.normals)
    again, other = (torch.cat([one.inputs for one in batches(found, config, 0, epoch)]) for epoch in (1, 2))
    assert torch.equal(again, torch.cat([one.inputs for one in batches(found, config, 0, 1)]))
    assert not torch.equal(again, other)
    alone, _ = ready(data, NET, options, generated_share=0.0, anomaly_share=1.0)
    for batch in batches(alone, config.model_copy(update={"anomaly_share": 1.0, "generated_share": 0.0}), 0, 1):
        assert batch.masks.flatten(1).any(1).all()


def test_targets_are_worked_out_once(root, generator, monkeypatch):
    import detectors.logical.data as module

    compute = Compute(torch.device("cpu"))
    options = TrainingOptions(compute=compute, edge_generator=generator)
    data = from_dataset("mvtec_loco", root, CATEGORY, READING, learn=DETECTOR.learns, edges=options.edge_assets)
    first, _ = ready(data, NET, options)
    monkeypatch.setattr(module, "jnd_map", lambda image: pytest.fail("it is in the cache"))
    second, _ = ready(data, NET, options)
    np.testing.assert_array_equal(first.jnd, second.jnd)
    np.testing.assert_array_equal(first.edges, second.edges)
    assert first.jnd.max() > 50
    assert first.edges.max() > 200


def test_what_is_missing_or_makes_no_sense_is_said(root, generator, shards, tmp_path):
    def refused(arguments):
        done = detectors("train", "logical", *TINY, *arguments, "--out", tmp_path / "run", ok=False)
        assert done.returncode == 2, done.stderr
        return done.stderr

    assert "synthgen train edge-generator --dataset mvtec_loco" in refused([*HERE, "--root", root])
    assert "--types auto" in refused([*HERE, "--root", root])
    assert "no edge edits" in refused([*HERE, "--root", root, "--edge-generator", generator, "--types", "crack"])
    assert "no backbone" in refused(["--shards", shards, "--weights", "backbone=random"])
    assert "HEIGHTxWIDTH" in refused(["--shards", shards, "--size", "64x64x64"])
    assert "multiple of 32" in refused(["--shards", shards, "--size", "60"])
    assert "pidinet=FILE" in refused(["--shards", shards, "--weights", "edges=x"])
    done = detectors("train", "pbas", *HERE, "--root", root, "--edge-generator", generator, ok=False)
    assert "learns from no edge edits" in done.stderr
    done = detectors("train", "pbas", *HERE, "--root", root, "--weights", "pidinet=x.pth", ok=False)
    assert "looks at no edges" in done.stderr


def test_every_ablation_has_a_run(shards, generator, tmp_path):
    done = detectors("train", "logical", "--shards", shards, "--edge-generator", generator, *TINY, "--epochs", 1, "--ablation",
                     "--out", tmp_path / "runs")  # fmt: skip
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["all", "no-edges", "no-targets"]
    assert len(done.stdout.split()) == 3
