"""How a training on a terminal is watched and stopped."""

import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from synthgen.terminal.callbacks import OnProgress

if TYPE_CHECKING:
    from types import FrameType

    from rich.console import Console


class Interrupted(BaseException):
    """A signal asked the training to stop; nobody who handles errors may take it for one."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.exit_status = 128 + number


class terminable:
    """SIGINT and SIGTERM end the training with a message, not a traceback."""

    def __enter__(self) -> Callable[[], None]:
        received: list[int] = []

        def stop(number: int, _: "FrameType | None") -> None:
            received.append(number)
            raise Interrupted(number)

        def check() -> None:
            if received:  # what the handler raised was lost in a place that cannot raise, such as a finalizer
                raise Interrupted(received[0])

        self._before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        return check

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


class training_progress:
    """A bar on a terminal; elsewhere a line every ten seconds."""

    def __init__(self, console: "Console", unit: str = "epoch") -> None:
        self._console = console
        self._unit = unit

    def __enter__(self) -> Any:
        self._bar: Any = None
        if sys.stderr.isatty():
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self._bar = Progress(*columns, console=self._console)
            self._bar.__enter__()
        tasks: dict[str, Any] = {}
        last = time.monotonic()

        def show(name: str, epoch: int, epochs: int, measured: dict[str, float]) -> None:
            nonlocal last
            text = " ".join(
                f"{key} {value:.4f}"
                for key, value in measured.items()
                if key == "loss" or key.startswith(("loss_", "val_image"))
            )
            if self._bar is not None:
                if name not in tasks:
                    tasks[name] = self._bar.add_task(name, total=epochs)
                self._bar.update(tasks[name], completed=epoch, description=f"{name}  {text}")
            elif time.monotonic() - last > 10 or epoch == epochs:
                last = time.monotonic()
                sys.stderr.write(f"{name}: {self._unit} {epoch} of {epochs}  {text}\n")

        return show

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.__exit__(*error)


@contextmanager
def watched_training(console: "Console", unit: str = "epoch") -> Iterator[OnProgress]:
    """Gives what a training calls after each epoch: it shows how far it is, and ends it where a signal asked for that."""
    with terminable() as check, training_progress(console, unit) as show:

        def on_progress(name: str, number: int, count: int, measured: dict[str, float]) -> None:
            check()
            show(name, number, count, measured)

        yield on_progress
