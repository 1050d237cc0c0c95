"""How a build shows how far it is: a bar on a terminal, a line every ten seconds elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from synthgen.terminal.callbacks import OnMessage
from synthgen.terminal.console import console

if TYPE_CHECKING:
    from rich.console import Console

_SECONDS_BETWEEN_LINES = 10.0
_SECONDS_BETWEEN_WORDS = 5.0


@contextmanager
def progress_display(total: int) -> Iterator[Callable[[int], None]]:
    """Gives a function to call with the number of samples that are made; shows rate and time left on stderr."""
    if sys.stderr.isatty():
        with _bar(total) as advance:
            yield advance
    else:
        yield _lines(total)


@contextmanager
def _bar(total: int) -> Iterator[Callable[[int], None]]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TimeRemainingColumn
    from rich.text import Text

    class Rate(ProgressColumn):
        """Samples per second."""

        def render(self, task: Task) -> Text:
            return Text(f"{task.speed:.0f} images/s" if task.speed else "")

    columns = (BarColumn(), MofNCompleteColumn(), Rate(), TimeRemainingColumn())
    with Progress(*columns, console=console(), transient=True, speed_estimate_period=60) as progress:
        task = progress.add_task("", total=total)
        yield lambda made: progress.update(task, completed=made)


def occasionally(messages: "Console") -> OnMessage:
    """Gives a function that says every few seconds how far something is, and at once what is not used."""
    last = time.monotonic()

    def on_message(text: str) -> None:
        nonlocal last
        if text.startswith("not used") or time.monotonic() - last > _SECONDS_BETWEEN_WORDS:
            messages.print(text, markup=False)
            last = time.monotonic()

    return on_message


def _lines(total: int) -> Callable[[int], None]:
    started = last = time.monotonic()
    first: int | None = None

    def advance(made: int) -> None:
        nonlocal last, first
        first = made if first is None else first
        now = time.monotonic()
        if now - last < _SECONDS_BETWEEN_LINES:
            return
        last = now
        rate = (made - first) / (now - started)
        left = f", {(total - made) / rate:.0f} s left" if rate else ""
        sys.stderr.write(f"{made} of {total} samples, {rate:.0f} images/s{left}\n")

    return advance
