"""Figures of crack geometry from binary masks, and how those of two sets of masks differ.

    python -m tools.bench crack_shapes MASKS [OTHER] [--type crack]

MASKS and OTHER are folders of mask images (anything above 0 is crack), shard files or folders of shards (`*.h5`; only samples
of `--type`). With two sets, the table shows both medians, and the Kolmogorov-Smirnov distance of the two distributions
(0: alike, 1: no overlap).

Lengths are given as if the image had 512 x 512 pixels, that is in units of sqrt(H W) / 512 px (`scale` is the pixels per
unit). Spurs that thinning leaves at rough edges are cut, and pinholes filled, before anything is counted.
"""

import argparse
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components, dijkstra
from scipy.stats import ks_2samp
from skimage.morphology import skeletonize

from tools.bench.support.records import Outcome
from tools.bench.support.tables import Cell, Column, Table

Mask = NDArray[np.uint8]
Figures = dict[str, float]

UNIT_SIDE = 512
TURN_STEP = 10.0  # units between the two headings of which the turn is taken
SMOOTHING = 2.0  # px, takes the staircase out of a traced path
PINHOLE = 9.0  # square units; a smaller hole is an accident of the mask, and would make a loop of the skeleton
MIN_PATH = 20.0  # units; the course of a shorter path says nothing
EIGHT = np.ones((3, 3), np.uint8)


def describe(mask: Mask) -> Figures:
    """Figures of one mask, all its components together.

    Args:
        mask: (H, W); anything above 0 is crack.

    Returns:
        `scale` (px per unit), `area_fraction`, `components`, `pinholes` (filled before the rest), `length` (of the skeleton,
        units), `width_mean` (area / length), `width_p10`, `width_median`, `width_p90` (twice the distance to the edge along
        the skeleton: up to 1 px too wide), `width_cv` (standard deviation / mean), `branches_per_100`, `ends_per_100` (per
        100 units of skeleton), and of the longest path `path_length`, `tortuosity` (length / end-to-end distance),
        `turn_mean`, `turn_p90` (change of heading per 10 units, degrees), `tip_width` (mean width of the outer tenths /
        that of the middle half; a crack that leaves the picture has no tip there). Figures that an
        empty mask or a short path does not have are absent.
    """
    given = (np.asarray(mask) > 0).astype(np.uint8)
    scale = float(np.sqrt(given.size)) / UNIT_SIDE
    binary, pinholes = fill_pinholes(given, PINHOLE * scale**2)
    components = cv2.connectedComponents(binary, connectivity=8)[0] - 1
    out: Figures = {
        "scale": scale,
        "area_fraction": float(given.mean()),
        "components": float(components),
        "pinholes": float(pinholes),
    }
    if not components:
        return out
    width = _twice_distance(binary)
    skeleton = cut_spurs(skeletonize(binary > 0).astype(np.uint8), width)
    graph = SkeletonGraph(skeleton)
    length = max(graph.length(), 1.0)
    widths = width[skeleton > 0]
    low, median, high = np.percentile(widths, (10, 50, 90))
    out |= {
        "length": length / scale,
        "width_mean": float(binary.sum()) / length / scale,
        "width_p10": low / scale,
        "width_median": median / scale,
        "width_p90": high / scale,
        "width_cv": float(widths.std() / widths.mean()),
        "branches_per_100": 100 * count_branch_points(skeleton) / (length / scale),
        "ends_per_100": 100 * int((neighbours(skeleton) == 1).sum()) / (length / scale),
    }
    return out | _path_figures(graph.longest_path(), width, scale)


def summarise(masks: Iterable[Mask]) -> dict[str, dict[str, float]]:
    """Median, 10th and 90th percentile, and number of masks, of every figure over the masks that are not empty."""
    return _summary([describe(mask) for mask in masks])


def _summary(figures: list[Figures]) -> dict[str, dict[str, float]]:
    out = {}
    for name, values in _columns(figures).items():
        low, median, high = np.percentile(values, (10, 50, 90))
        out[name] = {"p10": float(low), "median": float(median), "p90": float(high), "masks": float(len(values))}
    return out


def _columns(figures: list[Figures]) -> dict[str, list[float]]:
    columns: dict[str, list[float]] = {}
    for row in figures:
        if row["components"]:
            for name, value in row.items():
                columns.setdefault(name, []).append(value)
    return columns


def fill_pinholes(binary: Mask, area: float) -> tuple[Mask, int]:
    """The mask without holes of at most `area` px, and how many there were."""
    count, region, stats, _ = cv2.connectedComponentsWithStats(1 - binary, connectivity=4)
    small = [i for i in range(1, count) if stats[i, cv2.CC_STAT_AREA] <= area]
    return binary | np.isin(region, small), len(small)


def _twice_distance(binary: Mask) -> NDArray[np.float32]:
    """Twice the distance to the nearest pixel outside; beyond the border counts as outside."""
    padded = cv2.copyMakeBorder(binary, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    return 2 * cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]


def neighbours(skeleton: Mask) -> NDArray[np.uint8]:
    """Number of neighbours of each skeleton pixel, 0 elsewhere; a diagonal one reached through a side one is not counted."""
    out = np.zeros(skeleton.shape, np.uint8)
    for a, b, _ in _links(skeleton):
        np.add.at(out, a, 1)
        np.add.at(out, b, 1)
    return out


def _links(skeleton: Mask) -> Iterator[tuple[tuple[NDArray[np.intp], ...], tuple[NDArray[np.intp], ...], float]]:
    """Pairs of neighbouring pixels by direction: indices of the first, of the second, their distance."""
    on = np.pad(skeleton > 0, 1)
    for dy, dx in ((0, 1), (1, 0), (1, 1), (1, -1)):
        other = np.roll(on, (-dy, -dx), (0, 1))
        linked = on & other
        if dy and dx:  # the two side pixels between them
            linked &= ~np.roll(on, (-dy, 0), (0, 1)) & ~np.roll(on, (0, -dx), (0, 1))
        ys, xs = np.nonzero(linked)
        yield (ys - 1, xs - 1), (ys - 1 + dy, xs - 1 + dx), float(np.hypot(dy, dx))


def count_branch_points(skeleton: Mask) -> int:
    """Places where three or more arms meet; pixels that touch are one place."""
    return cv2.connectedComponents((neighbours(skeleton) >= 3).astype(np.uint8), connectivity=8)[0] - 1


def cut_spurs(skeleton: Mask, width: NDArray[np.float32], rounds: int = 3) -> Mask:
    """The skeleton without the arms that are no longer than the crack is wide where they leave it."""
    for _ in range(rounds):
        degree = neighbours(skeleton)
        joints = degree >= 3
        arm = SkeletonGraph(skeleton).arms(joints)
        joint_width = cv2.dilate(np.where(joints, width, 0).astype(np.float32), EIGHT)
        pixels = np.bincount(arm.ravel())
        at_joint = np.zeros(len(pixels), np.float32)
        np.maximum.at(at_joint, arm.ravel(), joint_width.ravel())
        ends = np.unique(arm[(degree == 1) & ~joints])
        spurs = ends[(ends > 0) & (pixels[ends] <= at_joint[ends])]
        if not len(spurs):
            break
        skeleton = skeletonize((skeleton > 0) & ~np.isin(arm, spurs)).astype(np.uint8)
    return skeleton


class SkeletonGraph:
    """Skeleton pixels linked to their neighbours, for lengths and paths in px."""

    def __init__(self, skeleton: Mask) -> None:
        """Takes an (H, W) skeleton."""
        self._points = np.argwhere(skeleton > 0)
        number = np.full(skeleton.shape, -1)
        number[skeleton > 0] = np.arange(len(self._points))
        links = [(number[a], number[b], np.full(len(a[0]), d)) for a, b, d in _links(skeleton)]
        rows, columns, self._distances = (np.concatenate(part) for part in zip(*links, strict=True))
        n = len(self._points)
        places = (rows.astype(np.int32), columns.astype(np.int32))  # as SciPy's graphs want them
        self._matrix = coo_array((self._distances, places), shape=(n, n)).tocsr()

    def length(self) -> float:
        """Length of all links; 0.948 is Kulpa's correction, without which a staircase is on average 5 % too long."""
        return 0.948 * float(self._distances.sum())

    def arms(self, joints: NDArray[np.bool_]) -> NDArray[np.int32]:
        """(H, W) int32: which stretch between `joints` (H, W) a skeleton pixel is in, from 1; 0 at joints and elsewhere."""
        kept = ~joints[tuple(self._points.T)]
        number = connected_components(self._matrix[kept][:, kept], directed=False)[1]
        out = np.zeros(joints.shape, np.int32)
        out[tuple(self._points[kept].T)] = 1 + number
        return out

    def longest_path(self) -> NDArray[np.float64]:
        """(n, 2) y, x along the longest shortest path of the largest component (from the far end of a far end)."""
        reached = dijkstra(self._matrix, directed=False, indices=self._seed_of_largest())
        start = int(np.argmax(np.where(np.isfinite(reached), reached, -1)))
        reached, before = dijkstra(self._matrix, directed=False, indices=start, return_predecessors=True)
        at = int(np.argmax(np.where(np.isfinite(reached), reached, -1)))
        path = [at]
        while at != start:
            at = int(before[at])
            path.append(at)
        return self._points[path].astype(np.float64)

    def _seed_of_largest(self) -> int:
        labels = connected_components(self._matrix, directed=False)[1]
        return int(np.argmax(labels == np.argmax(np.bincount(labels))))


def _path_figures(path: NDArray[np.float64], width: NDArray[np.float32], scale: float) -> Figures:
    smooth = gaussian_filter1d(path, SMOOTHING, axis=0, mode="nearest") if len(path) > 1 else path
    steps = np.hypot(*np.diff(smooth, axis=0).T)
    length, chord = float(steps.sum()), float(np.hypot(*(smooth[-1] - smooth[0])))
    if length / scale < MIN_PATH:
        return {}
    turns = _turns(smooth, steps, TURN_STEP * scale)
    at = path.astype(int)
    along, n = width[at[:, 0], at[:, 1]], len(path)
    tenth, quarter = max(n // 10, 1), n // 4
    tips = np.concatenate([along[:tenth], along[-tenth:]])
    out = {
        "path_length": length / scale,
        "tortuosity": length / max(chord, 1.0),
        "tip_width": float(tips.mean() / along[quarter : n - quarter].mean()),
    }
    if len(turns):
        out |= {"turn_mean": float(turns.mean()), "turn_p90": float(np.percentile(turns, 90))}
    return out


def _turns(smooth: NDArray[np.float64], steps: NDArray[np.float64], spacing: float) -> NDArray[np.float64]:
    """Absolute change of heading, degrees, between neighbouring chords of `spacing` px along a path."""
    travelled = np.concatenate([[0.0], np.cumsum(steps)])
    at = np.arange(0.0, travelled[-1], spacing)
    points = np.stack([np.interp(at, travelled, smooth[:, axis]) for axis in (0, 1)], axis=1)
    heading = np.arctan2(*np.diff(points, axis=0).T)
    turn = np.diff(heading)
    return np.degrees(np.abs((turn + np.pi) % (2 * np.pi) - np.pi))


def read_masks(source: Path, type_name: str) -> Iterator[Mask]:
    """Masks of a folder of images, of a shard file, or of a folder of shards (samples of `type_name` that were accepted)."""
    shards = [source] if source.suffix == ".h5" else sorted(source.rglob("*.h5"))
    if shards:
        for shard in shards:
            yield from _shard_masks(shard, type_name)
        return
    paths = sorted(p for p in source.rglob("*") if p.suffix.lower() in {".png", ".bmp", ".tif", ".tiff"})
    if not paths:
        sys.exit(f"{source}: no mask images (*.png, *.bmp, *.tif) and no shards (*.h5) in it; give a folder that has some.")
    for path in paths:
        mask = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        if mask is None:
            sys.exit(f"{path}: not an image that can be read; remove it or repair it.")
        yield mask


def _shard_masks(path: Path, type_name: str) -> Iterator[Mask]:
    import h5py

    with h5py.File(path, "r") as shard:
        names = [n.decode() if isinstance(n, bytes) else str(n) for n in np.ravel(shard["type"].attrs["names"])]
        of_type = (shard["type"][:] == names.index(type_name)) if type_name in names else np.zeros(len(shard["type"]), bool)
        for i in np.flatnonzero(of_type & (shard["label"][:] == 1)):
            yield shard["mask"][i]


def table(sets: dict[str, list[Figures]]) -> Table:
    """One line per figure: median [10th .. 90th percentile] of each set, and how far apart two sets are."""
    summaries, columns = [_summary(rows) for rows in sets.values()], [_columns(rows) for rows in sets.values()]
    titles = [Column(""), *(Column(name, ("{:.4g} [{:.3g} .. {:.3g}]",)) for name in sets)]
    if len(sets) == 2:
        titles += [Column("ratio", ("{:.2f}",)), Column("KS", ("{:.2f}",))]
    rows: list[list[Cell]] = []
    for name in summaries[0]:
        stats = [summary.get(name) for summary in summaries]
        row: list[Cell] = [name, *(part and [part["median"], part["p10"], part["p90"], part["masks"]] for part in stats)]
        if len(sets) == 2:
            first, second = stats
            row.append(second["median"] / first["median"] if first and second and first["median"] else None)
            row.append(float(ks_2samp(columns[0][name], columns[1][name]).statistic) if second else None)
        rows.append(row)
    return Table(titles, rows)


def add_options(parser: argparse.ArgumentParser) -> None:
    """What can be said."""
    parser.add_argument("masks", type=Path)
    parser.add_argument("other", type=Path, nargs="?")
    parser.add_argument("--type", default="crack", help="name of the samples to take from shards")


def run(options: argparse.Namespace) -> Outcome:
    """One table."""
    sources = [source for source in (options.masks, options.other) if source]
    sets = {source.name: [describe(mask) for mask in read_masks(source, options.type)] for source in sources}
    empty = [name for name, figures in sets.items() if not any(row["components"] for row in figures)]
    if empty:
        why = f"no mask in it marks anything (samples of type {options.type!r} in shards)"
        return Outcome({}, [f"{name}: {why}" for name in empty])
    return Outcome({"crack_shapes": table(sets)})
