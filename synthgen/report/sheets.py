"""Sheets of datasets on disk, as files: contact sheets, steps of edge edits, comparisons."""

from collections.abc import Sequence
from pathlib import Path

from synthgen.anomalies.registry import TYPES
from synthgen.edges.pipeline import EdgeAssets
from synthgen.errors import InputDataError, UsageError, suggest
from synthgen.replay import surface_of_edit, with_neighbours
from synthgen.report.sheet import Selection, choose, contact_sheet, save_sheet
from synthgen.report.stages import compared
from synthgen.report.steps import steps_sheet
from synthgen.shards import QualityTable, ShardDataset, shards_digest
from synthgen.terminal.console import console


def write_sheet(folder: Path, path: Path, selection: Selection, per_row: int = 4, quality: QualityTable | None = None) -> Path:
    """Write a contact sheet of a dataset, with scores of the best and the worst samples, and return its path."""
    dataset = ShardDataset(folder, quality=quality)
    if quality is not None and quality.shards_sha256 != shards_digest(dataset.contents):
        console().print(f"note: the scores are not those of exactly the shards in {folder}", markup=False)
    numbers = _chosen(folder, dataset, selection, quality is not None)
    save_sheet(path, contact_sheet([dataset[number] for number in numbers], per_row))
    return path


def write_steps(folder: Path, path: Path, selection: Selection, assets: EdgeAssets | None, root: Path | None) -> Path:
    """Write a sheet of the steps of a dataset's edge edits, and return its path."""
    dataset = ShardDataset(folder)
    samples = [dataset[number] for number in _chosen(folder, dataset, selection)]
    edits = [sample for sample in samples if TYPES[sample.spec.type].edits_edges]
    if not edits:
        raise InputDataError(f"{folder}: no edge edits are among these samples; --steps shows nothing else.")
    neighbours = with_neighbours(folder)
    surfaces = [surface_of_edit(neighbours, sample, assets, root) for sample in edits]
    save_sheet(path, steps_sheet(list(zip(edits, surfaces, strict=True))))
    return path


def write_comparison(folders: Sequence[Path], path: Path, selection: Selection) -> Path:
    """Write a sheet of the same samples in several datasets, and return its path."""
    datasets = [ShardDataset(folder) for folder in folders]
    common = set(datasets[0].ids).intersection(*(dataset.ids for dataset in datasets[1:]))
    sizes = [{header.image_size for header in dataset.headers} for dataset in datasets]
    if different := [folder for folder, size in zip(folders, sizes, strict=True) if size != sizes[0]]:
        raise UsageError(f"{folders[0]} and {different[0]}: hold samples of different sizes, which cannot be compared.")
    numbers = [number for number in _chosen(folders[0], datasets[0], selection) if datasets[0].ids[number] in common]
    if not numbers:
        raise InputDataError(f"{folders[0]}: none of the samples to show is in {' and in '.join(map(str, folders[1:]))} too.")
    rows = [[dataset[dataset.index(datasets[0].ids[number])] for dataset in datasets] for number in numbers]
    save_sheet(path, compared([folder.name for folder in folders], rows))
    return path


def _chosen(folder: Path, dataset: ShardDataset, selection: Selection, by_quality: bool = False) -> list[int]:
    """Numbers of the samples to show."""
    if not len(dataset):
        raise InputDataError(f"{folder}: there are no samples in it.")
    categories = dataset.column("category").tolist()
    for name in selection.categories:
        if name not in categories:
            raise InputDataError(f"--category {name}: {folder} has no such category.{suggest(name, sorted(set(categories)))}")
    qualities = dataset.column("quality").tolist() if by_quality else None
    return choose(categories, dataset.column("type").tolist(), dataset.column("label").tolist(), selection, qualities)
