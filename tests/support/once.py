"""Folders that are costly to make: made by one test process, and read by all that run beside it."""

import fcntl
import os
import shutil


def made_once(factory, name, make):
    """The folder that `make(folder)` fills, which must not be there before; nobody may write to it afterwards.

    `factory` is pytest's `tmp_path_factory`. Processes of pytest-xdist find one another's, and wait for it if need be.
    """
    base = factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "once"
    shared.mkdir(exist_ok=True)
    folder, finished = shared / name, shared / f"{name}.finished"
    with (shared / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not finished.exists():
            shutil.rmtree(folder, ignore_errors=True)  # of a process that failed
            make(folder)
            finished.touch()
    return folder
