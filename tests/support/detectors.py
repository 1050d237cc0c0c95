"""`detectors` as users run it, here or in a process of its own."""

import subprocess
import sys

from detectors.cli import main
from tests.support.commands import environment, in_this_process


def detectors(*arguments, ok=True):
    """A finished command, in this process: importing PyTorch takes longer than most of them."""
    done = in_this_process(main, "detectors", *arguments)
    if ok:
        assert done.returncode == 0, done.stderr
    return done


def start(script, *arguments):
    """A running command, or a script that is one, in a process of its own."""
    command = [sys.executable, *(["-c", script] if script else ["-m", "detectors"]), *map(str, arguments)]
    return subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
