"""Some samples of one type, to be measured or learned from, without a build."""

from collections.abc import Iterator, Sequence

from synthgen.anomalies.contract import TypeSettings
from synthgen.anomalies.registry import TYPES
from synthgen.samples import Sample, SampleSpec
from synthgen.synthesis import PreparedNormal, make_sample


def make_some(name: str, settings: TypeSettings, normals: Sequence[PreparedNormal], count: int, seed: int) -> Iterator[Sample]:
    """At most so many accepted samples of one type, as many of each normal image.

    Args:
        name: of the type.
        settings: what it draws from.
        normals: at least one; for `real`, with exemplars.
        count: how many are tried.
        seed: as a recipe's.
    """
    for number in range(count):
        replica, at = divmod(number, len(normals))
        normal = normals[at].normal
        spec = SampleSpec(
            sample_id=f"{normal.dataset}/{normal.category}/{normal.source}/{name}/{replica}",
            dataset=normal.dataset,
            category=normal.category,
            source=normal.source,
            type=name,
            replica=replica,
            size=(normal.pixels.shape[0], normal.pixels.shape[1]),
            generator=TYPES[name].generator,
        )
        sample = make_sample(spec, normals[at], settings, seed)
        if not sample.rejected:
            yield sample
