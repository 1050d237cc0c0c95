"""A folder that is written as a whole or not at all, and pictures that are written by several threads."""

import json
import shutil
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from synthgen import __version__
from synthgen.errors import UsageError
from synthgen.export.selection import Chosen
from synthgen.files import storage_error, temporary_name
from synthgen.samples import Sample

CARD = "synthgen-export.json"
_THREADS = 4
_AHEAD = 32


@contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """A new folder to write into; it becomes `out` when the block ends, and is removed if it fails.

    Raises:
        UsageError: something lies in `out`.
        StorageError: it cannot be written.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out}: something lies there already. Choose another --out, or remove it.")
    making = temporary_name(out.resolve())
    try:
        making.mkdir(parents=True)
        yield making
        if out.exists():
            out.rmdir()
        making.rename(out)
    except OSError as error:
        raise storage_error(out, error) from error
    finally:
        shutil.rmtree(making, ignore_errors=True)


class Writers:
    """Encodes and writes PNG files in threads, some of them ahead; a context manager. Errors come out of it."""

    def __enter__(self) -> "Writers":
        self._pool = ThreadPoolExecutor(_THREADS)
        self._waiting: deque[Future[None]] = deque()
        return self

    def png(self, path: Path, pixels: NDArray[np.uint8]) -> None:
        """Write (H, W, 3) RGB or (H, W) gray pixels; folders are made."""
        if len(self._waiting) >= _AHEAD:
            self._waiting.popleft().result()
        self._waiting.append(self._pool.submit(_write_png, path, pixels))

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            while self._waiting and kind is None:
                self._waiting.popleft().result()
        finally:
            self._pool.shutdown(cancel_futures=True)


def png_bytes(pixels: NDArray[np.uint8]) -> bytes:
    """(H, W, 3) RGB or (H, W) gray pixels as a PNG file."""
    plain = pixels if pixels.ndim == 2 else np.ascontiguousarray(pixels[..., ::-1])
    return bytes(cv2.imencode(".png", plain)[1].tobytes())


def facts(sample: Sample) -> dict[str, Any]:
    """What is known about a sample, as JSON types."""
    spec = sample.spec
    return {
        "sample_id": spec.sample_id,
        "dataset": spec.dataset,
        "category": spec.category,
        "source": spec.source,
        "source_sha256": sample.source_sha256,
        "type": spec.type,
        "replica": spec.replica,
        "area": sample.area,
        "contrast": round(float(sample.contrast), 4),
        "visible": round(float(sample.visible), 4),
        "box": list(sample.box),
    }


def write_card(folder: Path, chosen: Chosen, to: str, counts: dict[str, int]) -> None:
    """Write what was exported of what, and under which licence."""
    headers = chosen.dataset.headers
    licences = {header.dataset: header.licence for header in headers}
    card = {
        "format": to,
        "synthgen": __version__,
        "contents_sha256": sorted(chosen.dataset.contents),
        "split": {"shares": list(chosen.shares), "seed": chosen.seed, "grouped_by": "normal image"},
        "counts": counts,
        "licences": licences,
        "note": "The images are derived from those of the datasets; their licences hold.",
    }
    (folder / CARD).write_text(json.dumps(card, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def _write_png(path: Path, pixels: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png_bytes(pixels))
