"""The identity of samples whatever the file that carries them: canonical JSON, `sample_crc32` and `content_sha256`.

`content_sha256` is the SHA-256 of, in this order,

1. one line of JSON: format_version, dataset, category, licence, config_sha256, seed, shard_index, image_size. The program's
   version is left out: a new version that makes the same samples makes the same content;
2. for each sample: one line of JSON (`sample_row`), the bytes of image - normal (modulo 256) in the box, of mask in the box;
3. one line of JSON: the number of samples and the list of unreadable ones.
"""

import hashlib
import json
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthgen.samples import Image, Sample
from synthgen.shards.layout import VERSION, ShardHeader


def canonical_json(value: Any) -> str:
    """JSON with sorted keys, no spaces, ASCII only. Raises `ValueError` for NaN and infinities."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def pixels_sha256(pixels: NDArray[np.uint8]) -> str:
    """Hexadecimal SHA-256 of an image's bytes, row by row."""
    return hashlib.sha256(np.ascontiguousarray(pixels).data).hexdigest()


def sample_row(sample: Sample, normal_sha256: str) -> dict[str, Any]:
    """Everything a shard keeps of a sample but its pixels, with contrast and visible as the float32 they are stored as."""
    return {
        "sample_id": sample.spec.sample_id,
        "source": sample.spec.source,
        "source_sha256": sample.source_sha256,
        "normal_sha256": normal_sha256,
        "generator": sample.spec.generator,
        "type": sample.spec.type,
        "replica": sample.spec.replica,
        "attempt": sample.attempt,
        "area": sample.area,
        "contrast": float(np.float32(sample.contrast)),
        "visible": float(np.float32(sample.visible)),
        "rejected": sample.rejected,
        "box": [int(side) for side in sample.box],
        "params": sample.params,
    } | {
        name: pixels_sha256(pixels)
        for name, pixels in (("generated_sha256", sample.generated), ("ssim_diff_sha256", sample.difference))
        if pixels is not None
    }


def box_change(sample: Sample) -> Image:
    """What to add to the normal image, modulo 256, inside the sample's box: (box height, box width, 3) uint8."""
    y0, x0, y1, x1 = sample.box
    change: Image = sample.image[y0:y1, x0:x1] - sample.normal[y0:y1, x0:x1]
    return change


class ContentHash:
    """Takes in the samples of a shard in order, and says what they are.

    Args:
        header: of the shard.
    """

    def __init__(self, header: ShardHeader) -> None:
        facts = {
            "format_version": VERSION,
            "dataset": header.dataset,
            "category": header.category,
            "licence": header.licence,
            "config_sha256": header.config_sha256,
            "seed": header.seed,
            "shard_index": header.shard_index,
            "image_size": list(header.image_size),
        }
        self._hash = hashlib.sha256(_line(facts))
        self._n = 0

    def add(self, sample: Sample, change: Image, normal_sha256: str) -> int:
        """Takes in the next sample, and returns its CRC-32.

        Args:
            sample: only its box is looked at.
            change: `box_change(sample)`.
            normal_sha256: `pixels_sha256` of its normal image.
        """
        y0, x0, y1, x1 = sample.box
        row, mask = _line(sample_row(sample, normal_sha256)), np.ascontiguousarray(sample.mask[y0:y1, x0:x1])
        crc = 0
        for piece in (row, change.tobytes(), mask.tobytes()):
            self._hash.update(piece)
            crc = zlib.crc32(piece, crc)
        self._n += 1
        return crc

    def hexdigest(self, unreadable: list[dict[str, str]]) -> str:
        """The `content_sha256` of all samples taken in so far, and of the list of those that could not be read."""
        final = self._hash.copy()
        final.update(_line({"n": self._n, "unreadable": unreadable}))
        return final.hexdigest()


def _line(value: Any) -> bytes:
    return canonical_json(value).encode() + b"\n"
