"""What long work is told to call: every parameter of these kinds is named `on_` and what has happened."""

from collections.abc import Callable

OnMessage = Callable[[str], None]
"""Called with a line for people."""

OnProgress = Callable[[str, int, int, dict[str, float]], None]
"""Called with a run's name, the epoch or step from 1, their count, and what was measured."""
