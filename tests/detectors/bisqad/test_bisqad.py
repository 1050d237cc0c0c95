"""BiSQAD as users run it: train, resume, ablation, eval, predict, export, scores; small and with an untrained backbone."""

import json
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch

from detectors.bisqad.data import prepared
from detectors.bisqad.detector import ABLATION, assemble, make_config
from detectors.bisqad.train import _divided
from detectors.data.backbones import backbone_for
from detectors.data.preprocessing import Preprocessing
from detectors.data.training_data import OnTheFly, from_dataset
from detectors.training.options import Options
from synthgen.runs.devices import Compute
from synthgen.runs.folder import load_tensors
from synthgen.shards import ShardDataset
from synthgen.shards.quality import read_quality, shards_digest
from tests.support.builders import build_mvtec, picture, write
from tests.support.commands import environment, synthgen
from tests.support.detectors import detectors

SIDE = 32
READING = Preprocessing((SIDE, SIDE), (SIDE, SIDE), (SIDE, SIDE))
SMALL = ["--weights", "backbone=random", "--size", SIDE, "--device", "cpu", "--batch-size", 4, "--set", "levels=1,2",
         "--set", "keep=8,8", "--set", "pool=4", "--set", "warm_up=1", "--set", "outer_every=1", "--epochs", 3]  # fmt: skip
BOTH = ["--set", "data_weight=0.5"]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return build_mvtec(tmp_path_factory.mktemp("mvtec"), ("bottle",), normals=14)


@pytest.fixture(scope="module")
def shards(root, tmp_path_factory):
    out = tmp_path_factory.mktemp("shards") / "set"
    done = synthgen("build", "--dataset", "mvtec", "--root", root, "--size", SIDE, "--types", "crack,spot,stain",
                    "--per-image", 1, "--strength", "strong", "--max-rejected", 1, "--out", out, "-j", 1)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="module")
def run(root, shards, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "bottle"
    detectors("train", "bisqad", "--shards", shards, *SMALL, *BOTH, "--out", out)
    return out


def log_of(run):
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def test_a_run_has_everything(run):
    lines = log_of(run)
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    assert {"loss", "loss_pixel", "loss_reconstruction", "loss_anomaly", "sqe_error", "outer_loss", "quality_mean"} <= lines[
        0
    ].keys()
    assert lines[-1]["data_weight_deviation"] > 0
    card = json.loads((run / "split.json").read_text())
    assert card["overlap"] == 0
    assert card["training_anomalies"] > 0
    config = json.loads((run / "config.json").read_text())
    assert config["training_anomalies_sha256"] == card["training_anomalies_sha256"]
    assert (run / "seen.png").stat().st_size > 1000
    samples = json.loads((run / "samples.json").read_text())
    assert len(samples["sample_id"]) == len(samples["quality"]) == card["training_anomalies"]
    assert all(0 <= value <= 1 for value in samples["quality"])


def test_training_anomalies_are_made_of_training_images_alone(root, shards):
    data = from_dataset("mvtec", root, "bottle", READING, learn=OnTheFly(("spot",), 1))
    trained, held = {one.source for one in data.normals}, {one.source for one in data.held_out}
    assert not trained & held
    normals = [one.source for one in data.normals]
    assert len(data.learned) == len(data.learned_of) == len(normals)
    for sample, of in zip(data.learned, data.learned_of, strict=True):
        assert sample.spec.source == normals[of]
        np.testing.assert_array_equal(sample.normal, data.normals[of].pixels)
    assert {sample.spec.source for sample in data.anomalies} <= held
    assert not from_dataset("mvtec", root, "bottle", READING).learned


def test_features_in_the_cache_are_those_of_the_images(root, tmp_path):
    data = from_dataset("mvtec", root, "bottle", READING, learn=OnTheFly(("spot", "stain"), 1))
    config = make_config("lite", "mvtec", "bottle", {"size": SIDE, "levels": (1, 2), "keep": (8, 8), "pool": 4})
    compute = Compute(torch.device("cpu"))
    model = assemble(config, backbone_for(config, "random"), compute)
    with prepared(model, data, compute, Options(compute), tmp_path) as ready, torch.inference_mode():
        labels = [sample.label for sample in data.learned]
        assert len(ready.learned) == sum(labels)
        chosen = [sample for sample in data.learned if sample.label]
        for row in (0, len(chosen) - 1):
            image = torch.from_numpy(data.preprocessing.fit(chosen[row].image)).permute(2, 0, 1)[None].float()
            for found, wanted in zip(ready.levels(ready.learned[torch.tensor([row])]), model.features(image), strict=True):
                torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
            assert ready.ids[row] == chosen[row].spec.sample_id
            np.testing.assert_array_equal(ready.masks[row].numpy(), chosen[row].mask > 0)
            normal = data.normals[int(ready.normal_of[row])]
            assert normal.source == chosen[row].spec.source
    other = assemble(config, backbone_for(config, "random"), compute)
    other.load_state_of_run(model.state_of_run())
    assert not any(name.startswith("features.backbone") for name in model.state_of_run())
    torch.testing.assert_close(other.features.index0, model.features.index0)


def test_the_same_seed_gives_the_same_model_and_another_another(shards, run, tmp_path):
    detectors("train", "bisqad", "--shards", shards, *SMALL, *BOTH, "--out", tmp_path / "same")
    detectors("train", "bisqad", "--shards", shards, *SMALL, *BOTH, "--seed", 1, "--out", tmp_path / "other")
    wanted, same, other = (load_tensors(one / "model.safetensors")[0] for one in (run, tmp_path / "same", tmp_path / "other"))
    assert all(torch.equal(wanted[name], same[name]) for name in wanted)
    assert any(not torch.equal(wanted[name], other[name]) for name in wanted)


def test_a_training_that_is_killed_resumes_to_the_same_bytes(shards, run, tmp_path):
    script = (
        "import os, signal, sys\n"
        "import detectors.training.loop as t, detectors.training.options as o\n"
        "plain = t.RunFolder.save\n"
        "def save(self, name, *rest):\n"
        "    plain(self, name, *rest)\n"
        "    if name == 'checkpoint.safetensors' and rest[1]['epoch'] == 2: os.kill(os.getpid(), signal.SIGKILL)\n"
        "t.RunFolder.save = save\n"
        "init = o.Options.__init__\n"
        "def quick(self, *a, **k):\n"
        "    init(self, *a, **k); object.__setattr__(self, 'checkpoint_seconds', 0)\n"
        "o.Options.__init__ = quick\n"
        "from detectors.cli import main; main()"
    )
    out = tmp_path / "run"
    arguments = ["train", "bisqad", "--shards", shards, *SMALL, *BOTH, "--out", out]
    command = [sys.executable, "-c", script, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, env=environment(), timeout=120)
    assert done.returncode == -signal.SIGKILL
    assert not (out / "model.safetensors").exists()
    detectors(*arguments)
    wanted, found = (load_tensors(one / "model.safetensors")[0] for one in (run, out))
    assert all(torch.equal(wanted[name], found[name]) for name in wanted)
    assert [line["epoch"] for line in log_of(out)] == [1, 2, 3]


def test_it_is_used_like_any_detector(root, run, tmp_path):
    detectors("eval", run, "--root", root, "--weights", "backbone=random")
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["detector"] == "bisqad"
    assert 0 <= metrics["metrics"]["image_auroc"] <= 1
    assert (run / "report.html").exists()
    photo = write(tmp_path / "photo.png", picture(1, 40, 50))
    detectors("predict", run, photo, "--out", tmp_path / "predictions", "--weights", "backbone=random")
    assert (tmp_path / "predictions/scores.csv").exists()
    exported = detectors("export", run, "--weights", "backbone=random", "--out", tmp_path / "model.onnx")
    assert (tmp_path / "model.onnx").exists()
    assert "differ by at most" in exported.stderr
    assert "bisqad" in detectors("compare", run).stdout


def test_samples_get_scores_that_synthgen_reads(run, shards, tmp_path):
    detectors("score-samples", run, "--shards", shards, "--weights", "backbone=random", "--out", tmp_path / "quality.h5")
    table = read_quality(tmp_path / "quality.h5")
    dataset = ShardDataset(shards)
    accepted = [name for name, label in zip(dataset.ids, dataset.column("label"), strict=True) if label]
    assert sorted(table.sample_id) == sorted(accepted)
    assert table.shards_sha256 == shards_digest(dataset.contents)
    samples = json.loads((run / "samples.json").read_text())
    known = dict(zip(samples["sample_id"], samples["quality"], strict=True))
    for name, quality, seen in zip(table.sample_id, table.quality, table.seen, strict=True):
        if name in known:
            assert quality == pytest.approx(known[name], abs=1e-4)
            assert seen > 0
        else:
            assert seen == 0  # of held-out images
    assert np.isfinite(table.loss_mean[table.seen > 0]).all()
    joined = ShardDataset(shards, quality=table)
    assert joined[dataset.index(table.sample_id[0])].quality == pytest.approx(float(table.quality[0]))


def test_the_ablation_is_one_command(root, tmp_path):
    fly = ["--dataset", "mvtec", "--root", root, "--category", "bottle", "--types", "spot", "--per-image", 1]
    done = detectors("train", "bisqad", *fly, *SMALL, "--ablation", "--out", tmp_path / "ablation")
    runs = [tmp_path / "ablation" / name for name in ABLATION]
    assert done.stdout.split() == [str(one) for one in runs]
    configs = [json.loads((one / "config.json").read_text())["settings"] for one in runs]
    assert [(one["sqe"], one["data_weight"]) for one in configs] == [(False, 0.0), (True, 0.0), (True, 0.5)]
    assert "quality_mean" not in log_of(runs[0])[-1]
    cards = [json.loads((one / "validation.json").read_text())["metrics"].keys() for one in runs]
    assert cards[0] == cards[1] == cards[2]
    assert "outer_loss" not in log_of(runs[1])[-1]
    assert "outer_loss" in log_of(runs[2])[-1]
    no = detectors("score-samples", runs[0], "--shards", tmp_path, "--weights", "backbone=random", ok=False)
    assert no.returncode == 2
    assert "no fitted quality estimator" in no.stderr
    assert detectors("train", "bisqad", *fly, *SMALL, "--set", "sqe=true", "--ablation", ok=False).returncode == 2


def test_without_sqe_all_samples_weigh_the_same(root, tmp_path):
    fly = ["--dataset", "mvtec", "--root", root, "--category", "bottle", "--types", "spot", "--per-image", 1]
    for name, more in (("plain", ["--set", "sqe=false"]), ("zero", ["--set", "sqe_weight=0", "--set", "outer=false"])):
        detectors("train", "bisqad", *fly, *SMALL, *more, "--out", tmp_path / name)
    one, other = (load_tensors(tmp_path / name / "model.safetensors")[0] for name in ("plain", "zero"))
    assert all(torch.equal(one[name], other[name]) for name in one if name.startswith("base."))


def test_the_best_epoch_survives_a_resume_and_test_best_is_stamped(root, tmp_path):
    fly = ["--dataset", "mvtec", "--root", root, "--category", "bottle", "--types", "spot", "--per-image", 1]
    detectors("train", "bisqad", *fly, *SMALL, "--select", "val", "--out", tmp_path / "val")
    assert json.loads((tmp_path / "val/validation.json").read_text())["epoch"] in (1, 2, 3)
    detectors("train", "bisqad", *fly, *SMALL, "--select", "test-best", "--out", tmp_path / "best")
    assert any(name.startswith("test_") for name in log_of(tmp_path / "best")[-1])


@pytest.mark.parametrize("normals", [4, 5])
def test_very_few_images_still_have_thresholds(normals, tmp_path):
    root = build_mvtec(tmp_path / "mvtec", ("bottle",), normals=normals)
    fly = ["--dataset", "mvtec", "--root", root, "--category", "bottle", "--types", "spot", "--per-image", 1, *SMALL]
    detectors("train", "bisqad", *fly, "--set", "data_weight=0.5", "--out", tmp_path / "run")
    _, state = load_tensors(tmp_path / "run/model.safetensors")
    assert np.isfinite(list(state["thresholds"].values())).all()


def test_what_the_outer_loop_learns_from_is_never_judged_by(root, tmp_path):
    data = from_dataset("mvtec", root, "bottle", READING, learn=OnTheFly(("spot",), 1))
    config = make_config("lite", "mvtec", "bottle", {"size": SIDE, "levels": (1, 2), "keep": (8, 8), "pool": 4})
    compute = Compute(torch.device("cpu"))
    model = assemble(config, backbone_for(config, "random"), compute)
    with prepared(model, data, compute, Options(compute), tmp_path) as ready:
        (normals, anomalies), judged = _divided(ready)
        sources = {ready.images[k].source for k in normals + anomalies}
        assert sources.isdisjoint(ready.images[k].source for k in judged)
        assert sorted(normals + anomalies + judged) == list(range(len(ready.images)))
        assert any(not ready.images[k].label for k in judged)


def test_bad_requests_say_the_way_out(root, shards, tmp_path):
    cases = [
        (("bisqad", "--shards", shards, "--types", "crack"), 2, "with --shards the anomalies"),
        (("pbas", "--shards", shards, "--types", "crack"), 2, "pbas makes its own anomalies"),
        (("pbas", "--shards", shards, "--ablation"), 2, "pbas has none"),
        (("bisqad", "--shards", shards, "--set", "sqe_target=hard"), 2, "sqe_target"),
        (("bisqad", "--shards", shards, "--preset", "reference"), 2, "no such preset"),
        (("bisqad", "--dataset", "mvtec", "--root", root, "--category", "bottle", "--types", "rust"), 2, "rust"),
    ]
    for arguments, status, told in cases:
        done = detectors(
            "train", *arguments, "--weights", "backbone=random", "--device", "cpu", "--out", tmp_path / "x", ok=False
        )
        assert done.returncode == status, (arguments, done.stderr)
        assert told in done.stderr, (arguments, done.stderr)
