"""Looks at every sample of a shard for anything that contradicts itself or its checksums."""

import itertools
import json
import sys
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from synthgen.errors import IntegrityError
from synthgen.samples import Box, Sample
from synthgen.shards.content import ContentHash, box_change, pixels_sha256
from synthgen.shards.layout import columns
from synthgen.shards.shard import Shard

_MOST_FINDINGS = 1000


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong with a dataset.

    Attributes:
        shard: name of the file.
        sample_id: the sample it concerns; None for the shard as a whole.
        problem: what is wrong, as a sentence without a full stop.
    """

    shard: str
    sample_id: str | None
    problem: str


def inspect_shard(path: Path, *, deep: bool = True) -> Iterator[Finding]:
    """What is wrong inside a shard: structure and columns, and (`deep`) every base row, sample and the content's digest.

    A file that is made to harm can crash or stop the process: see `verify`, which does this in another one.
    """
    try:
        shard = Shard(path)
        for column in columns(shard.layout, shard.extras):
            shard.column(column)
        ids = shard.texts("meta/sample_id")
    except IntegrityError as error:
        yield Finding(path.name, None, str(error))
        return
    for sample_id, count in Counter(ids).items():
        if count > 1:
            yield Finding(path.name, sample_id, f"its id is there {count} times")
    if deep:
        yield from _pixel_findings(shard, ids)
    shard.close()


def _pixel_findings(shard: Shard, ids: list[str]) -> Iterator[Finding]:
    name = shard.path.name
    for problem in _base_problems(shard):
        yield Finding(name, None, problem)
    content, digests = ContentHash(shard.header), dict[str, str]()
    for i, sample_id in enumerate(ids):
        try:
            sample = shard.sample(i)
            digest = pixels_sha256(sample.normal)
            crc = content.add(sample, box_change(sample), digest)
            for problem in _sample_problems(shard, i, sample, crc):
                yield Finding(name, sample_id, problem)
            if digests.setdefault(sample.spec.source, digest) != digest:
                yield Finding(name, sample_id, "its normal image is not that of the other samples of its source")
        except IntegrityError as error:
            yield Finding(name, sample_id, str(error))
    if content.hexdigest(shard.unreadable) != shard.content_sha256:
        yield Finding(name, None, "its samples or its header are not those that were written (content_sha256)")


def _base_problems(shard: Shard) -> Iterator[str]:
    if shard.layout != "delta":
        return
    try:
        for row, crc in enumerate(shard.column("base_crc32").tolist()):
            if zlib.crc32(shard.base_row(row).data) != crc:
                yield f"row {row} of /base is damaged (CRC-32)"
    except IntegrityError as error:
        yield str(error)


def _sample_problems(shard: Shard, i: int, sample: Sample, crc: int) -> Iterator[str]:
    image, mask = shard.as_stored(i)
    changed = (image != sample.normal).any(axis=2)
    if crc != shard.column("sample_crc32")[i]:
        yield "it is not the sample that was written (CRC-32)"
    if not (np.array_equal(image, sample.image) and np.array_equal(mask, sample.mask)):
        yield "it has changed or mask pixels outside its box"
    if mask.max() > 1 or np.count_nonzero(mask) != sample.area:
        yield "its mask has other values than 0 and 1, or another area than is stored"
    if (mask.astype(bool) & ~changed).any():
        yield "its mask covers pixels that did not change"
    if _bounds(changed | (mask > 0)) != sample.box:
        yield "its box is not the smallest around its changed and mask pixels"
    if shard.column("label")[i] != sample.label:
        yield "its label contradicts its rejection"
    if sample.rejected and any(sample.box):
        yield "it was rejected, yet its image is not the normal one"


def _bounds(mask: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> Box:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return 0, 0, 0, 0
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def main(path: str, deep: str) -> None:
    """Writes each finding to stdout as a line of JSON, and `null` at the end, for `verify`."""
    findings = itertools.islice(inspect_shard(Path(path), deep=deep == "deep"), _MOST_FINDINGS)
    for finding in findings:
        sys.stdout.write(json.dumps(asdict(finding)) + "\n")
        sys.stdout.flush()
    sys.stdout.write("null\n")
