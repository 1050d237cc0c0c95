"""While a detector is being trained, the test split is closed: in all threads of the process, and in processes it forks."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from synthgen.errors import UsageError

# one count for the process: a context variable would be unset in the threads that training starts
_lock = threading.Lock()
_running = 0


class ClosedSplitError(UsageError):
    """Something asked for the test split during training."""


@contextmanager
def closed() -> Iterator[None]:
    """While this is active, anywhere in the process, the test split cannot be opened. May be nested."""
    global _running
    with _lock:
        _running += 1
    try:
        yield
    finally:
        with _lock:
            _running -= 1


def check_open() -> None:
    """Stop whoever wants the test split while it is closed.

    Raises:
        ClosedSplitError: `closed` is active.
    """
    if _running:
        raise ClosedSplitError(
            "the test split was asked for during training. Training never sees it, not even to choose a model or a threshold: "
            "evaluate the trained model with `detectors eval`."
        )
