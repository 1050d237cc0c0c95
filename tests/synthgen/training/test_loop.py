"""The loop of every training, on work of one number: it is logged, looked at, kept and gone on from as it should be."""

import json

import pytest
import torch

from synthgen.errors import IntegrityError
from synthgen.runs.folder import RunFolder, load_tensors, save_tensors
from synthgen.runs.steps import DivergedError
from synthgen.terminal.training import Interrupted
from synthgen.training import loop
from synthgen.training.loop import Schedule, run_training


class Counting:
    """Adam pulls a number towards 3; what happens is written down."""

    def __init__(self, fail_at=None, error=None):
        self.value = torch.nn.Parameter(torch.zeros(1))
        self.optimizers = {"value": torch.optim.Adam([self.value], 0.1)}
        self.fail_at, self.error = fail_at, error
        self.happened = []

    def begin(self):
        self.happened.append("begin")

    def advance(self, done, until):
        for unit in range(done + 1, until + 1):
            if unit == self.fail_at and self.error is not None:
                raise self.error
            loss = (self.value - 3).square().sum()
            self.optimizers["value"].zero_grad()
            loss.backward()
            self.optimizers["value"].step()
        return {"loss": float("nan") if until == self.fail_at else loss.item()}

    def look(self, done, events):
        self.happened.append(f"look {done}")
        return {"held_out_loss": 1.0}

    def tensors(self):
        return {"value": self.value}

    def facts(self):
        return {"lucky": 7}

    def restore(self, tensors, facts):
        self.happened.append(f"restore {facts['lucky']}")
        self.value.data.copy_(tensors["value"])

    def finish(self, done, seconds, events):
        self.happened.append(f"finish {done}")


def run(work, folder, on_unit=lambda *_: None, **schedule):
    with RunFolder(folder, {}) as run:
        run_training(work, run, Schedule(tensorboard=False, **schedule), on_unit)


def log_of(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_looks_are_where_they_are_due_and_every_record_says_the_learning_rate(tmp_path):
    work, heard = Counting(), []
    run(work, tmp_path, lambda *now: heard.append(now[:2]), total=7, look_every=3, look_last=True)
    assert work.happened == ["begin", "look 3", "look 6", "look 7", "finish 7"]
    lines = log_of(tmp_path)
    assert [line["epoch"] for line in lines] == list(range(1, 8))
    assert ["held_out_loss" in line for line in lines] == [line["epoch"] in (3, 6, 7) for line in lines]
    assert {line["learning_rate"] for line in lines} == {0.1}
    assert heard == [(epoch, 7) for epoch in range(1, 8)]
    assert not (tmp_path / "checkpoint.safetensors").exists()


def test_rounds_of_steps_end_at_their_multiples_and_at_the_end(tmp_path):
    work = Counting()
    work.optimizers["other"] = torch.optim.SGD([work.value], 0.5)
    run(work, tmp_path, total=11, unit="step", round=4, look_every=5)
    assert work.happened == ["begin", "look 8", "finish 11"]
    lines = log_of(tmp_path)
    assert [line["step"] for line in lines] == [4, 8, 11]
    assert (lines[0]["learning_rate_value"], lines[0]["learning_rate_other"]) == (0.1, 0.5)


@pytest.mark.parametrize("error", [None, DivergedError("a weight is none"), Interrupted(15)])
def test_what_stops_it_leaves_the_last_good_state_and_it_goes_on_to_the_same_numbers(error, tmp_path):
    whole = Counting()
    run(whole, tmp_path / "whole", total=6)
    with pytest.raises((DivergedError, Interrupted)):
        run(Counting(4, error), tmp_path / "run", total=6)
    tensors, facts = load_tensors(tmp_path / "run/checkpoint.safetensors")
    assert (facts["epoch"], facts["lucky"]) == (3, 7)
    assert torch.isfinite(tensors["value"]).all()
    resumed = Counting()
    run(resumed, tmp_path / "run", total=6)
    assert resumed.happened[0] == "restore 7"
    assert torch.equal(resumed.value, whole.value)
    losses = [[line["loss"] for line in log_of(tmp_path / name)] for name in ("whole", "run")]
    assert losses[0] == losses[1]


def test_a_checkpoint_of_something_else_is_named_with_the_way_out(tmp_path):
    for facts in ({"epoch": 2, "seconds": 1.0}, {"lucky": 7}):
        save_tensors(tmp_path / "checkpoint.safetensors", {"value": torch.zeros(1)}, facts)
        with RunFolder(tmp_path / "run", {}) as folder:
            (tmp_path / "checkpoint.safetensors").rename(folder.path / "checkpoint.safetensors")
            with pytest.raises(IntegrityError, match="Remove it, and train again"):
                run_training(Counting(), folder, Schedule(total=3, tensorboard=False), lambda *_: None)


def test_without_a_good_state_there_is_no_checkpoint(tmp_path):
    with pytest.raises(DivergedError, match="epoch 1: loss is no number"):
        run(Counting(1), tmp_path, total=3)
    assert not (tmp_path / "checkpoint.safetensors").exists()


def test_a_process_that_does_not_lead_writes_nothing(tmp_path):
    work = Counting()
    run(work, tmp_path, total=4, leads=False)
    assert work.happened == ["begin"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "config.json"]


def test_checkpoints_come_by_time(tmp_path, monkeypatch):
    saved = []
    plain = RunFolder.save
    monkeypatch.setattr(RunFolder, "save", lambda run, name, *rest: (saved.append(rest[1]["epoch"]), plain(run, name, *rest)))
    run(Counting(), tmp_path / "slow", total=4)
    assert saved == []
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", -1.0)
    run(Counting(), tmp_path / "quick", total=4)
    assert saved == [1, 2, 3]
