"""How two datasets of shards differ: in what they were made by, and sample by sample."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from synthgen.files import differences
from synthgen.shards import ShardDataset


@dataclass(frozen=True, slots=True)
class Difference:
    """What sets two datasets apart.

    Attributes:
        config: lines `place: first -> second` for what was asked of the builds.
        only_first, only_second: ids of samples that one of them lacks.
        changed: ids of samples that both have, with other pixels, mask or parameters.
        same: number of samples that are equal.
    """

    config: list[str]
    only_first: list[str]
    only_second: list[str]
    changed: list[str]
    same: int

    @property
    def any(self) -> bool:
        """Whether there is a difference in the samples."""
        return bool(self.only_first or self.only_second or self.changed)

    def to_json(self) -> dict[str, Any]:
        """All of it, as JSON types."""
        return asdict(self)


def compare(first: Path, second: Path) -> Difference:
    """Compare two datasets by their samples' checksums; nothing is decoded.

    Raises:
        InputDataError: one of them is not there.
        IntegrityError: one of them cannot be read.
    """
    first_checksums, second_checksums = _checksums(first), _checksums(second)
    common = first_checksums.keys() & second_checksums.keys()
    changed = sorted(sample for sample in common if first_checksums[sample] != second_checksums[sample])
    return Difference(
        config=differences(_config(first), _config(second)),
        only_first=sorted(first_checksums.keys() - common),
        only_second=sorted(second_checksums.keys() - common),
        changed=changed,
        same=len(common) - len(changed),
    )


def _checksums(path: Path) -> dict[str, int]:
    dataset = ShardDataset(path)
    if not len(dataset):
        return {}
    return dict(zip(dataset.ids, dataset.column("sample_crc32").tolist(), strict=True))


def _config(path: Path) -> Any:
    headers = ShardDataset(path).headers
    return json.loads(headers[0].config_json) if headers else {}
