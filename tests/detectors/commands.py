"""`detectors` as users run it, on small folders and with an untrained backbone."""

import subprocess
import sys

import torch

from detectors.cli import main
from synthgen.runs.folder import load_tensors
from tests.support.commands import environment, in_this_process

SMALL = ["--backbone", "resnet18", "--weights", "backbone=random", "--size", 64, "--device", "cpu"]


def detectors(*arguments, ok=True):
    """A finished command, in this process: importing PyTorch takes longer than most of them."""
    done = in_this_process(main, "detectors", *arguments)
    if ok:
        assert done.returncode == 0, done.stderr
    return done


def start(script, *arguments):
    """A running command, or a script that is one, in a process of its own."""
    command = [sys.executable, *(["-c", script] if script else ["-m", "detectors"]), *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env=environment(OMP_NUM_THREADS=1), **pipes)


def assert_same_model(run, other):
    """The models of two runs have the same bytes."""
    ours, theirs = (load_tensors(path / "model.safetensors")[0] for path in (run, other))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


RESUMED = """
import os, signal, synthgen.training.loop as loop
loop.CHECKPOINT_SECONDS = 0.0
save = loop.RunFolder.save

def killed(run, name, tensors, facts):
    save(run, name, tensors, facts)
    if facts["epoch"] == 2:
        os.kill(os.getpid(), signal.SIGKILL)

loop.RunFolder.save = killed
import torch
torch.set_num_threads(1)
from detectors.cli import main
main()
"""
"""A command that dies right after the checkpoint of its second epoch."""
