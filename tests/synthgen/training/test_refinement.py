"""Trainings of both refinement networks by command: what they leave, how they resume, and what they refuse."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

from synthgen.errors import IntegrityError, UsageError
from synthgen.refine.model import load_refinement, read_card
from synthgen.runs.folder import load_tensors, save_tensors
from tests.support.commands import environment, synthgen
from tests.support.refinement_runs import NARROW, SIDE, SMALL, train


def log_of(run):
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def test_a_training_leaves_a_model_a_log_and_pictures(npcf, npcfpp):
    for run, model, terms in ((npcf, "npcf", {"pde", "tv", "colour"}), (npcfpp, "npcf++", {"wave", "pull", "anomaly"})):
        card = read_card(run, model)
        assert (card.dataset, card.size, card.types, card.styles) == (
            "folder",
            (SIDE, SIDE),
            ("crack", "corrosion"),
            ("realistic",),
        )
        assert 0 < card.measured["kept_change"] < 2
        lines = log_of(run)
        assert lines[-1]["step"] == card.config.steps
        assert {f"loss_{name}" for name in terms} <= lines[-1].keys()
        assert (run / "samples.png").stat().st_size > 1000
        assert list((run / "tensorboard").iterdir())
        assert not (run / "checkpoint.safetensors").exists()
    assert read_card(npcfpp, "npcf++").coarse_sha256 == load_refinement(npcf, "npcf").sha256


def test_a_training_learns(root, tmp_path):
    fly = ("--dataset", "folder", "--root", root, "--size", SIDE, "--types", "corrosion", "-j", 0)
    done = train("npcf", tmp_path / "run", *fly,
                 "--set", "pde=0", "--set", "anomaly=1", "--set", "learning_rate=0.005",
                 "--set", "warmup=0", steps=125)  # fmt: skip
    assert done.returncode == 0, done.stderr
    first, *_, last = log_of(tmp_path / "run")
    assert last["loss"] < 0.8 * first["loss"]
    assert read_card(tmp_path / "run", "npcf").measured["kept_change"] < 0.9  # halfway between stage A and the normal image


def test_samples_are_the_same_from_shards_and_on_the_fly_whoever_makes_them(root, shards, npcf, tmp_path):
    fly = ("--dataset", "folder", "--root", root, "--size", SIDE, "--types", "crack,corrosion", "--per-image", 2)
    done = train("npcf", tmp_path / "run", *fly, "-j", 2)
    assert done.returncode == 0, done.stderr
    wanted, found = (load_tensors(run / "model.safetensors")[0] for run in (npcf, tmp_path / "run"))
    assert wanted.keys() == found.keys()
    for name in wanted:
        torch.testing.assert_close(found[name], wanted[name], rtol=0, atol=0)


@pytest.mark.parametrize("model", ["npcf", "npcf++"])
def test_a_training_that_is_killed_resumes_to_the_same_bytes(model, request, shards, npcf, tmp_path):
    whole = request.getfixturevalue("npcf" if model == "npcf" else "npcfpp")
    more = [] if model == "npcf" else ["--npcf", npcf, *NARROW]
    steps = 30 if model == "npcf" else 12
    out = tmp_path / "run"
    code = (
        "import os, signal, sys; import synthgen.training.loop as loop, synthgen.training.refinement as t\n"
        "loop.CHECKPOINT_SECONDS = 0; t._ROUND = 5; plain = loop.RunFolder.save\n"
        "def save(self, *rest):\n"
        "    plain(self, *rest); os.kill(os.getpid(), signal.SIGKILL)\n"
        "loop.RunFolder.save = save; from synthgen.cli import main; main()"
    )
    arguments = ["train", model, "--out", out, *SMALL, "--set", f"steps={steps}", "--shards", shards, *more]
    killed = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], env=environment(), capture_output=True, timeout=120
    )
    assert killed.returncode == -9
    assert (out / "checkpoint.safetensors").exists()
    assert not (out / "model.safetensors").exists()
    done = train(model, out, "--shards", shards, *more, steps=steps)
    assert done.returncode == 0, done.stderr
    assert "goes on from its checkpoint" in done.stderr
    wanted, found = (load_tensors(run / "model.safetensors")[0] for run in (whole, out))
    for name in wanted:
        torch.testing.assert_close(found[name], wanted[name], rtol=0, atol=0)
    numbers = [line["step"] for line in log_of(out)]
    assert numbers == sorted(set(numbers))


def test_a_finished_training_is_not_done_again_and_another_is_refused(shards, npcf):
    before = (npcf / "model.safetensors").stat().st_mtime_ns
    again = train("npcf", npcf, "--shards", shards)
    assert again.returncode == 0
    assert "is finished already" in again.stderr
    assert (npcf / "model.safetensors").stat().st_mtime_ns == before
    other = train("npcf", npcf, "--shards", shards, steps=31)
    assert other.returncode == 2
    assert "something else was trained there" in other.stderr


def test_two_processes_train_what_one_does(shards, tmp_path):
    alone, both = tmp_path / "alone", tmp_path / "both"
    assert train("npcf", alone, "--shards", shards, steps=10).returncode == 0
    done = train("npcf", both, "--shards", shards, "--devices", 2, steps=10, env=environment())
    assert done.returncode == 0, done.stderr
    ours, theirs = (load_tensors(run / "model.safetensors")[0] for run in (alone, both))
    for name in ours:
        torch.testing.assert_close(theirs[name], ours[name], rtol=1e-2, atol=2e-3)
    assert log_of(both)[-1]["loss"] == pytest.approx(log_of(alone)[-1]["loss"], rel=1e-2)


def test_a_loss_that_is_no_number_ends_the_training_and_keeps_the_last_good_state(shards, tmp_path):
    code = (
        "import synthgen.training.refinement as t; t._ROUND = 5; plain = t.npcf_terms; calls = [0]\n"
        "def terms(*rest):\n"
        "    calls[0] += 1; found = plain(*rest)\n"
        "    return {name: value * float('nan') for name, value in found.items()} if calls[0] > 12 else found\n"
        "t.npcf_terms = terms; from synthgen.cli import main; main()"
    )
    out = tmp_path / "run"
    arguments = ["train", "npcf", "--out", out, *SMALL, "--set", "steps=30", "--shards", shards]
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], env=environment(), capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "is no number any more" in done.stderr
    tensors, facts = load_tensors(out / "checkpoint.safetensors")
    assert facts["step"] == 10
    assert all(torch.isfinite(value).all() for value in tensors.values())


def test_bad_requests_say_the_way_out(root, shards, npcf, npcfpp, tmp_path):
    out = tmp_path / "run"
    cases = [
        (("npcf++", "--shards", shards), 2, "--npcf RUN"),
        (("npcf", "--shards", shards, "--npcf", npcf), 2, "npcf itself needs none"),
        (("npcf",), 2, "either --dataset NAME"),
        (("npcf", "--shards", shards, "--dataset", "folder"), 2, "either --dataset NAME"),
        (("npcf", "--shards", shards, "--size", "32"), 2, "--size does not go with"),
        (("npcf", "--shards", shards, "--per-image", "1"), 2, "--per-image does not go with"),
        (("npcf", "--shards", shards, "--set", "weight_decay=nan"), 2, "weight_decay=nan"),
        (("npcf", "--shards", shards, "--devices", "2", "--device", "cpu:0"), 2, "without a number"),
        (("npcf", "--shards", tmp_path / "none"), 3, "none"),
        (("npcf", "--shards", shards, "--weights", "pidinet=x"), 2, "expected encoder=FILE or vgg16=FILE"),
        (("npcf", "--shards", shards, "--weights", f"encoder={tmp_path / 'none.pth'}"), 3, "none.pth"),
        (("npcf", "--shards", shards, "--set", "perc_network=vgg16"), 2, "--weights vgg16=FILE"),
        (("npcf++", "--shards", shards, "--npcf", tmp_path / "nothing"), 3, "no trained npcf"),
        (("npcf++", "--shards", shards, "--npcf", npcfpp), 2, "is npcf++, not npcf"),
        (("npcf", "--dataset", "folder", "--root", root, "--types", "logical"), 2, "a network of its own"),
        (("npcf", "--shards", shards, "--devices", "9"), 2, "cannot share the 4 windows"),
        (("npcf++", "--dataset", "folder", "--root", root, "--size", "32", "--npcf", npcf), 2, "at the same size"),
        (("edge-generator", "--shards", shards, "--dataset", "folder"), 2, "--shards does not go with"),
        (("edge-generator",), 2, "--dataset is needed"),
    ]
    for arguments, status, told in cases:
        device = () if "--device" in arguments else ("--device", "cpu")
        done = synthgen("train", *arguments, "--out", out, *device)
        assert done.returncode == status, (arguments, done.stderr)
        assert told in done.stderr, (arguments, done.stderr)
        assert not (out / "model.safetensors").exists()
        shutil.rmtree(out, ignore_errors=True)
    inside = synthgen("train", "npcf", "--dataset", "folder", "--root", root, "--out", root / "run")
    assert inside.returncode == 2
    assert "lies inside the dataset" in inside.stderr


def test_models_that_are_no_models_are_refused(npcf, tmp_path):
    tensors, facts = load_tensors(npcf / "model.safetensors")
    path = tmp_path / "model.safetensors"

    def saved(tensors, facts):
        save_tensors(path, tensors, facts)
        return path

    with pytest.raises(IntegrityError, match="of 1 channels"):
        load_refinement(saved(tensors, facts | {"channels": 1}), "npcf")
    with pytest.raises(IntegrityError, match="not a refinement network of this version"):
        load_refinement(saved(tensors, facts | {"format_version": 99}), "npcf")
    with pytest.raises(IntegrityError, match="does not say all"):
        load_refinement(saved(tensors, {k: v for k, v in facts.items() if k != "size"}), "npcf")
    with pytest.raises(IntegrityError, match="its weights are not those"):
        load_refinement(saved({k: v for k, v in tensors.items() if "head" not in k}, facts), "npcf")
    with pytest.raises(UsageError, match="not available here"):
        load_refinement(npcf, "npcf", "cuda:77")
    with pytest.raises(IntegrityError, match="no numbers"):
        load_refinement(saved({k: v * float("nan") for k, v in tensors.items()}, facts), "npcf")
    with pytest.raises(IntegrityError, match="does not say all"):
        load_refinement(saved(tensors, facts | {"config": facts["config"] | {"backbone": "vgg"}}), "npcf")
    path.write_bytes(os.urandom(2000))
    with pytest.raises(IntegrityError, match="damaged"):
        load_refinement(path, "npcf")


def test_an_image_that_cannot_be_read_is_named_by_whichever_process(root, tmp_path):
    place = tmp_path / "parts"
    shutil.copytree(root, place)
    damaged = place / "03.png"
    data = bytearray(damaged.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 200] = bytes(200)
    damaged.write_bytes(data)
    for jobs in (0, 1):
        fly = ("--dataset", "folder", "--root", place, "--size", SIDE, "--types", "crack", "-j", jobs)
        done = train("npcf", tmp_path / "run", *fly)
        assert done.returncode == 3, done.stderr
        assert "03.png" in done.stderr


def test_weights_that_are_no_numbers_are_never_kept(shards, tmp_path):
    done = train("npcf", tmp_path / "run", "--shards", shards, "--set", "warmup=0", "--set", "pde=1e38", steps=1)
    assert done.returncode == 1
    assert "is no number any more" in done.stderr
    assert not (tmp_path / "run/model.safetensors").exists()


def test_refined_shards_are_no_stage_a(root, npcf, tmp_path):
    done = synthgen("build", "--dataset", "folder", "--root", root, "--size", SIDE, "--types", "crack", "--per-image", 1,
                    "--refine", "phase-field", "--out", tmp_path / "set", "-j", 1)  # fmt: skip
    assert done.returncode == 0
    refused = train("npcf", tmp_path / "run", "--shards", tmp_path / "set")
    assert refused.returncode == 2
    assert "refined already (phase-field)" in refused.stderr


def test_the_averaged_network_is_the_model(npcf):
    card = read_card(npcf, "npcf")
    network = load_refinement(npcf, "npcf").network
    assert card.config.backbone == "resnet18"
    assert not any(parameter.requires_grad for parameter in network.parameters())
    assert np.isfinite([float(value.sum()) for value in network.state_dict().values()]).all()
