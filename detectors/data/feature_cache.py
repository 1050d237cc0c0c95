"""Features of a frozen backbone, computed once and kept where they fit: on the device, in memory, or in a file."""

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from synthgen.errors import UsageError
from synthgen.files import storage_error

Where = Literal["auto", "device", "host", "disk"]
_SHARE = 0.6  # of free memory


class FeatureCache:
    """Rows of one shape, float32, written once in order, then read in any order as tensors on the device.

    Args:
        rows: how many there will be.
        shape: of each.
        device: where they are wanted.
        where: `device`, `host` (pinned memory where there is a GPU), `disk` (a file in `folder`, removed at the end) or
            `auto`: the first of these that has room.
        folder: for the file.

    Raises:
        UsageError: they do not fit where they are asked to be kept.
    """

    def __init__(
        self, rows: int, shape: tuple[int, ...], device: torch.device, where: Where = "auto", folder: Path | None = None
    ) -> None:
        self.device = device
        size = 4 * rows * int(np.prod(shape))
        self.where = _choose(size, device) if where == "auto" else where
        self._written = 0
        self._file: Path | None = None
        if self.where == "disk":
            if folder is None:
                raise UsageError("features that go to a file need a folder.")
            self._file = folder / f".tmp-features-{os.getpid()}-{id(self):x}"
            try:
                self._rows = torch.from_numpy(np.memmap(self._file, np.float32, "w+", shape=(rows, *shape)))
            except OSError as error:
                raise storage_error(self._file, error) from error
            return
        try:
            place = device if self.where == "device" else torch.device("cpu")
            pinned = self.where == "host" and device.type == "cuda"
            self._rows = torch.empty((rows, *shape), dtype=torch.float32, device=place, pin_memory=pinned)
        except RuntimeError as error:  # torch.OutOfMemoryError is one
            raise UsageError(
                f"{size / 2**30:.1f} GiB of features do not fit: --cache disk, a smaller --size, or fewer images."
            ) from error

    def append(self, rows: Tensor) -> None:
        """Write the next rows."""
        self._rows[self._written : self._written + len(rows)] = rows.to(self._rows.device)
        self._written += len(rows)

    def __len__(self) -> int:
        return self._written

    def __getitem__(self, index: Tensor | slice) -> Tensor:
        """The rows of a slice, or of an index tensor on the CPU; on the device."""
        if isinstance(index, Tensor):
            index = index.to(self._rows.device)
        return self._rows[index].to(self.device, non_blocking=True)

    def close(self) -> None:
        """Remove the file, if there is one."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.unlink()


def batches(items: Iterable[Tensor], size: int) -> Iterator[Tensor]:
    """Tensors stacked, `size` at a time."""
    waiting: list[Tensor] = []
    for item in items:
        waiting.append(item)
        if len(waiting) == size:
            yield torch.stack(waiting)
            waiting = []
    if waiting:
        yield torch.stack(waiting)


def choose_where(where: Where, rows: int, shape: tuple[int, ...], device: torch.device) -> Where:
    """Where several caches that hold so many rows together are kept: `auto` decided once, for all of them."""
    return _choose(4 * rows * int(np.prod(shape)), device) if where == "auto" else where


def _choose(size: int, device: torch.device) -> Literal["device", "host", "disk"]:
    if device.type == "cuda" and size < _SHARE * torch.cuda.mem_get_info(device)[0]:
        return "device"
    if size < _SHARE * _free_memory():
        return "device" if device.type == "cpu" else "host"
    return "disk"


def _free_memory() -> int:
    """Bytes that may be allocated without swapping, as far as the system tells."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return 1024 * int(line.split()[1])
    return 2 << 30
