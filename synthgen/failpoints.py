"""Named points at which a test can kill the process, to prove that a build survives it.

`SYNTHGEN_FAILPOINT=shard-mid:3` kills the process with SIGKILL the third time it reaches the point `shard-mid`. Unset, a
point costs one look at the environment.
"""

import os
import signal
from collections import Counter

VARIABLE = "SYNTHGEN_FAILPOINT"
_reached: Counter[str] = Counter()


def reach(name: str) -> None:
    """Kills this process if the environment says so for the point `name`; otherwise does nothing."""
    wanted = os.environ.get(VARIABLE)
    if not wanted:
        return
    point, _, count = wanted.partition(":")
    if point != name:
        return
    _reached[name] += 1
    if _reached[name] == int(count or 1):
        os.kill(os.getpid(), signal.SIGKILL)
