"""Trainings by command: what a run holds, how it is resumed, what stops it, and what is refused."""

import csv
import json
import signal
import time

import cv2
import numpy as np
import pytest
import torch

from detectors.official_test import ClosedSplitError, closed, open_test_split
from detectors.training.run import spread
from synthgen.anomalies.registry import SURFACE_TYPES
from synthgen.runs.folder import load_tensors
from tests.detectors.commands import RESUMED, SMALL, assert_same_model, detectors, start
from tests.support.builders import picture, write

pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_run_holds_what_it_should(trained):
    run, done = trained
    assert done.stdout.split() == [str(run)]
    assert "6 normal images to train on, 3 held out" in done.stderr
    assert "the test split is not opened" in done.stderr
    config, card = (json.loads((run / name).read_text()) for name in ("config.json", "split.json"))
    assert (config["detector"], config["preset"], config["seed"], config["selection"]) == ("pbas", "reference", 0, "last")
    assert config["backbone_sha256"] == "random"
    assert (card["train_normals"], card["held_out_normals"], card["overlap"]) == (6, 3, 0)
    assert set(card["held_out_anomalies"]) <= set(SURFACE_TYPES)
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    assert lines[0]["loss_centre"] > 0
    assert (lines[0]["learning_rate_projector"], lines[0]["learning_rate_discriminator"]) == (1e-4, 2e-4)
    assert "val_image_auroc" in lines[-1]
    assert cv2.imread(str(run / "sheet.png")) is not None
    assert list((run / "tensorboard").iterdir())
    assert not (run / "checkpoint.safetensors").exists()
    tensors, state = load_tensors(run / "model.safetensors")
    assert tensors["centre"].shape == (64, 384)
    assert 0 < state["thresholds"]["usual"] <= state["thresholds"]["pixel"] < 1
    assert not list(run.glob(".tmp-*"))


def test_the_same_again_does_nothing_and_something_else_is_refused(trained, mvtec):
    run, _ = trained
    before = (run / "model.safetensors").read_bytes()
    arguments = ["train", "pbas", "--dataset", "mvtec", "--root", mvtec, "--category", "bottle", *SMALL, "--out", run]
    assert "finished before" in detectors(*arguments, "--epochs", 3).stderr
    assert (run / "model.safetensors").read_bytes() == before
    done = detectors(*arguments, "--epochs", 4, ok=False)
    assert done.returncode == 2
    assert "settings.epochs: 3 -> 4" in done.stderr


def test_training_cannot_open_the_test_split(mvtec):
    assert open_test_split("mvtec", mvtec, "bottle")
    with closed(), pytest.raises(ClosedSplitError):
        open_test_split("mvtec", mvtec, "bottle")


def test_a_training_that_is_killed_resumes_to_the_same_bytes(mvtec, trained, tmp_path):
    out, (whole, _) = tmp_path / "killed", trained
    arguments = ["train", "pbas", "--dataset", "mvtec", "--root", mvtec, "--category", "bottle", *SMALL, "--epochs", 3]
    arguments += ["--out", out]
    with start(RESUMED, *arguments) as killed:
        _, err = killed.communicate(timeout=200)
    assert killed.returncode == -signal.SIGKILL, err
    assert (out / "checkpoint.safetensors").exists()
    assert not (out / "model.safetensors").exists()
    assert "did not end" in detectors("eval", out, ok=False).stderr
    with (out / "log.jsonl").open("a") as log:
        log.write('{"epoch": 3, "cut')  # what a kill leaves
    detectors(*arguments)
    assert_same_model(out, whole)
    assert [json.loads(line)["epoch"] for line in (out / "log.jsonl").read_text().splitlines()] == [1, 2, 3]


def test_sigterm_ends_a_training_that_can_be_resumed(mvtec, tmp_path):
    arguments = ["train", "pbas", "--dataset", "mvtec", "--root", mvtec, "--category", "bottle", *SMALL]
    with start("", *arguments, "--epochs", 5000, "--out", tmp_path / "run") as process:
        deadline = time.monotonic() + 100
        while not (tmp_path / "run" / "log.jsonl").exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        second = detectors(*arguments, "--epochs", 5000, "--out", tmp_path / "run", ok=False)
        assert second.returncode == 2
        assert "another training is at work" in second.stderr
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 143, err
    assert "goes on" in err
    assert "Traceback" not in err


def test_a_loss_that_is_no_number_stops_and_keeps_the_last_good_state(mvtec, tmp_path):
    out = tmp_path / "run"
    base = ["train", "pbas", "--dataset", "mvtec", "--root", mvtec, "--category", "bottle", *SMALL, "--epochs", 3, "--out", out]
    done = detectors(*base, "--set", "alpha=1e30", ok=False)
    assert done.returncode == 2  # refused: alpha up to 100
    script = (
        "import dataclasses, detectors.pbas.train as p\n"
        "plain, epochs = p.losses, []\n"
        "def broken(*rest):\n"
        "    terms = plain(*rest)\n"
        "    return terms if len(epochs) == 1 else dataclasses.replace(terms, centre=terms.centre * float('nan'))\n"
        "epoch = p.train_epoch\n"
        "p.train_epoch = lambda *rest: (epochs.append(0), epoch(*rest))[1]; p.losses = broken\n"
        "from detectors.cli import main; main()\n"
    )
    with start(script, *base) as process:
        _, err = process.communicate(timeout=200)
    assert process.returncode == 1
    assert "loss_centre is no number" in err
    assert "Traceback" not in err
    tensors, state = load_tensors(out / "checkpoint.safetensors")
    assert state["epoch"] == 1
    assert all(torch.isfinite(value).all() for value in tensors.values())


def test_too_few_images_and_unknown_names(mvtec, tmp_path):
    few = tmp_path / "few"
    for number in range(3):
        write(few / "part" / f"{number}.png", picture(number))
    base = ["train", "pbas", *SMALL, "--out", tmp_path / "x"]
    for arguments, status, says in (
        (["--dataset", "folder", "--root", few, "--category", "part"], 3, "at least 4"),
        (["--dataset", "mvtec", "--root", mvtec, "--category", "botle"], 3, "Did you mean 'bottle'"),
        (["--dataset", "mvtec", "--root", mvtec], 2, "--category"),
        (["--dataset", "mvtec", "--root", mvtec, "--category", "bottle", "--set", "alhpa=1"], 2, "Did you mean 'alpha'"),
        (["--dataset", "mvtec", "--root", mvtec, "--category", "bottle", "--select", "best"], 2, "test-best"),
        (["--dataset", "mvtec", "--root", mvtec, "--category", "bottle", "--device", "cuda:77"], 2, "not available"),
        (["--dataset", "mvtec", "--root", mvtec, "--category", "bottle", "--preset", "papr"], 2, "Did you mean 'paper'"),
        (["--shards", tmp_path / "nothing"], 4, "nothing"),
    ):
        done = detectors(*base, *arguments, ok=False)
        assert (done.returncode, says in done.stderr) in {(status, True), (3, True)}, done.stderr
    assert not (tmp_path / "x").exists()
    assert detectors("train", "pbsa", ok=False).returncode == 2


def test_commands_are_spread_over_devices():
    assert spread([["list"], ["list", "--json"], ["list"]], ["cpu"]) == 2  # `list` takes no --device: it says so
    assert spread([], ["cpu", "cpu"]) == 0


def test_test_best_is_stamped(mvtec, tmp_path):
    out = tmp_path / "best"
    detectors(
        "train", "pbas", "--dataset", "mvtec", "--root", mvtec, "--category", "bottle", *SMALL, "--epochs", 2,
        "--select", "test-best", "--out", out,
    )  # fmt: skip
    done = detectors("eval", out)
    assert "test-best*" in done.stdout
    assert "not an honest estimate" in done.stdout
    assert "not an honest estimate" in (out / "report.html").read_text()


def test_seeds_categories_and_compare(mvtec, tmp_path):
    out = tmp_path / "all"
    arguments = [
        "train",
        "pbas",
        "--dataset",
        "mvtec",
        "--root",
        mvtec,
        "--category",
        "all",
        *SMALL,
        "--epochs",
        1,
        "--seeds",
        2,
    ]
    done = detectors(*arguments, "--out", out, "--select", "val")
    assert [line.rpartition("/")[0].rpartition("/")[2] for line in done.stdout.split()] == [
        "bottle",
        "bottle",
        "screw",
        "screw",
    ]
    bottle = [load_tensors(out / "bottle" / f"seed-{seed}" / "model.safetensors")[0] for seed in (0, 1)]
    assert not torch.equal(bottle[0]["projector.weight"], bottle[1]["projector.weight"])
    assert "no evaluated run" in detectors("compare", out, ok=False).stderr
    detectors("eval", out)
    rows = json.loads(detectors("compare", out, "--json").stdout)
    assert [(row["category"], row["seeds"]) for row in rows] == [("bottle", [0, 1]), ("screw", [0, 1])]
    measured = [
        json.loads((out / "bottle" / f"seed-{seed}" / "metrics.json").read_text())["metrics"]["image_auroc"] for seed in (0, 1)
    ]
    assert rows[0]["metrics"]["image_auroc"]["mean"] == pytest.approx(np.mean(measured))
    assert rows[0]["metrics"]["image_auroc"]["deviation"] == pytest.approx(np.std(measured, ddof=1))
    table = list(csv.DictReader(detectors("compare", out, "--csv").stdout.splitlines()))
    assert [row["category"] for row in table] == ["bottle", "screw"]
    assert "±" in detectors("compare", out).stdout
