"""A file that is there as a whole or not at all, and errors of the device that say what to do."""

import contextlib
import hashlib
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from synthgen.failpoints import reach
from synthgen.shards.layout import TRAILER_BYTES, TRAILER_MAGIC

_READ_BYTES = 1 << 20


class RememberingFile(io.FileIO):
    """A file for HDF5 to write into that keeps the first error of the device to itself.

    HDF5 leaves its library in a state that can crash the process when a write fails while it closes a file. So a write here
    never fails: after the first error all later bytes are dropped, and whoever owns the file looks at `failure`.
    """

    failure: OSError | None = None

    def write(self, data: Any) -> int:
        """Writes all of `data`, or remembers why not; returns its length in both cases."""
        left = memoryview(data).cast("B")
        length = len(left)
        with self._remember():
            while len(left) and self.failure is None:
                left = left[super().write(left) :]
        return length

    def truncate(self, size: int | None = None) -> int:
        """Sets the file's length, or remembers why not."""
        with self._remember():
            if self.failure is None:
                return super().truncate(size)
        return size or 0

    @contextlib.contextmanager
    def _remember(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.failure = error


def file_digests(path: Path) -> tuple[str, str]:
    """The SHA-256 of a shard's bytes before the trailer, and of all its bytes."""
    left = path.stat().st_size - TRAILER_BYTES
    body = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while left > 0 and (block := file.read(min(_READ_BYTES, left))):
            body.update(block)
            left -= len(block)
        whole = body.copy()
        whole.update(file.read())
    return body.hexdigest(), whole.hexdigest()


def seal(path: Path) -> str:
    """Appends the trailer to a closed HDF5 file and brings it to the device.

    Returns:
        The SHA-256 of the whole file, trailer included.
    """
    with path.open("r+b", buffering=0) as file:
        digest = hashlib.sha256()
        while block := file.read(_READ_BYTES):
            digest.update(block)
        trailer = TRAILER_MAGIC + digest.hexdigest().encode() + b"\n"
        with RememberingFile(file.fileno(), "r+b", closefd=False) as tail:
            tail.seek(0, os.SEEK_END)
            tail.write(trailer)
            if tail.failure:
                raise tail.failure
        digest.update(trailer)
        reach("shard-before-fsync")
        os.fsync(file.fileno())
    return digest.hexdigest()


def publish(temporary: Path, path: Path) -> None:
    """Gives a finished file its name, for good: the folder's entry is on the device when this returns."""
    reach("shard-before-replace")
    temporary.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    reach("shard-after-replace")
