"""Samples of made-up datasets: what they are called, and how they are stored."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from synthgen.samples import NormalImage, Sample, SampleSpec
from synthgen.shards import ShardHeader, ShardWriter
from synthgen.shards.layout import Layout


def bench_spec(normal: NormalImage, type_name: str, number: int, generator: str = "bench 1") -> SampleSpec:
    """Sample `number` of a type of a normal image, of the size of the image."""
    return SampleSpec(
        sample_id=f"{normal.dataset}/{normal.category}/{Path(normal.source).stem}/{type_name}/{number}",
        dataset=normal.dataset, category=normal.category, source=normal.source, type=type_name, replica=number,
        size=(normal.pixels.shape[0], normal.pixels.shape[1]), generator=generator,
    )  # fmt: skip


def write_shard(
    path: Path,
    samples: Sequence[Sample],
    *,
    layout: Layout = "delta",
    base_compression: Literal["gzip"] | None = None,
    licence: str = "",
) -> None:
    """One shard of samples of one category and size."""
    first = samples[0].spec
    header = ShardHeader(
        dataset=first.dataset, category=first.category, licence=licence, image_size=first.size, seed=0, shard_index=0,
        generator=first.generator, config_json="{}", types=tuple(sorted({sample.spec.type for sample in samples})),
    )  # fmt: skip
    rows: dict[str, int] = {}
    storage = {"n_samples": len(samples), "n_bases": len(samples), "layout": layout, "base_compression": base_compression}
    with ShardWriter(path, header, **storage) as writer:
        for sample in samples:
            source = sample.spec.source
            if source not in rows:
                rows[source] = writer.add_normal(
                    NormalImage(first.dataset, first.category, source, sample.source_sha256, sample.normal)
                )
            writer.add_sample(sample, rows[source])
