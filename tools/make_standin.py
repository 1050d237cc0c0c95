"""Writes a stand-in for MVTec AD, VisA and BTAD: their folders, with as many normal training images, all made up.

With it anyone can plan and build the whole MaPhC2F recipe without the real data, to see that it works and how long it takes:

    python -m tools.make_standin standin
    synthgen build --recipe maphc2f --root standin --out sets/maphc2f

Only the training images are as many as in the real datasets; of test images there are a few, so that whoever reads them by
mistake gets a wrong number. The same seed gives the same bytes, and a second run writes only what is missing.
"""

import argparse
import csv
import io
import json
import multiprocessing
import sys
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from tools.standin.looks import render, scratch

COUNTS = {
    "mvtec": {
        "bottle": 209,
        "cable": 224,
        "capsule": 219,
        "carpet": 280,
        "grid": 264,
        "hazelnut": 391,
        "leather": 245,
        "metal_nut": 220,
        "pill": 267,
        "screw": 320,
        "tile": 230,
        "toothbrush": 60,
        "transistor": 213,
        "wood": 247,
        "zipper": 240,
    },
    "visa": {
        "candle": 900,
        "capsules": 542,
        "cashew": 450,
        "chewinggum": 453,
        "fryum": 450,
        "macaroni1": 900,
        "macaroni2": 900,
        "pcb1": 904,
        "pcb2": 901,
        "pcb3": 905,
        "pcb4": 904,
        "pipe_fryum": 450,
    },
    "btad": {"01": 400, "02": 399, "03": 1000},
}
"""dataset -> category -> number of normal training images, all that are official."""
SPLITS = {"1cls": 0.0, "2cls_fewshot": 0.2, "2cls_highshot": 0.6}
"""VisA's split files -> share of the images, anomalies included, for training; 0 is the official split of 1cls."""

_TEST = 2  # test images of each kind and category
_LEAST = 2  # training images of a category, however small the share
_SMALLEST, _LARGEST = 32, 4096  # pixels a side
_RECORD = "standin.json"
_BTAD_SUFFIXES = {"01": (".bmp", ".png"), "02": (".png", ".png"), "03": (".bmp", ".bmp")}  # of images and of masks


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture to write.

    Attributes:
        path: file, relative to the stand-in's folder.
        category: dataset and category, such as `"visa/candle"`.
        mask: file of the mask, relative to the stand-in's folder; empty for a normal picture.
        mask_value: what a defect's pixels are in the mask.
    """

    path: str
    category: str
    mask: str = ""
    mask_value: int = 255

    def files(self, root: Path) -> list[Path]:
        """The picture's file, and the mask's if it has one."""
        return [root / name for name in (self.path, self.mask) if name]


@dataclass(frozen=True)
class Options:
    """What decides the bytes of a stand-in.

    Attributes:
        size: height and width of the pictures in pixels.
        share: share of each category's training images, above 0, at most 1.
        seed: another seed gives other pictures.
    """

    size: int = 256
    share: float = 1.0
    seed: int = 0


def pictures(dataset: str, options: Options) -> Iterator[Picture]:
    """All pictures of a dataset, in the order in which they are written."""
    layout = {"mvtec": _mvtec, "visa": _visa, "btad": _btad}[dataset]
    for category in COUNTS[dataset]:
        yield from layout(f"{dataset}/{category}", training_count(dataset, category, options))


def training_count(dataset: str, category: str, options: Options) -> int:
    """Number of training images that a category gets."""
    return max(_LEAST, round(COUNTS[dataset][category] * options.share))


def _mvtec(category: str, count: int) -> Iterator[Picture]:
    for i in range(count):
        yield Picture(f"{category}/train/good/{i:03}.png", category)
    for i in range(_TEST):
        yield Picture(f"{category}/test/good/{i:03}.png", category)
        yield Picture(f"{category}/test/scratch/{i:03}.png", category, f"{category}/ground_truth/scratch/{i:03}_mask.png")


def _visa(category: str, count: int) -> Iterator[Picture]:
    data = f"{category}/Data"
    for i in range(count + _TEST):
        yield Picture(f"{data}/Images/Normal/{i:04}.JPG", category)
    for i in range(_TEST):
        yield Picture(f"{data}/Images/Anomaly/{i:03}.JPG", category, f"{data}/Masks/Anomaly/{i:03}.png", mask_value=1 + i)


def _btad(category: str, count: int) -> Iterator[Picture]:
    suffix, mask_suffix = _BTAD_SUFFIXES[category.split("/")[1]]
    for i in range(count):
        yield Picture(f"{category}/train/ok/{i:04}{suffix}", category)
    for i in range(_TEST):
        yield Picture(f"{category}/test/ok/{i:04}{suffix}", category)
        yield Picture(f"{category}/test/ko/{i:04}{suffix}", category, f"{category}/ground_truth/ko/{i:04}{mask_suffix}")


def split_files(options: Options) -> dict[str, bytes]:
    """VisA's split files: path relative to the stand-in's folder -> content."""
    return {f"visa/split_csv/{name}.csv": _split_file(share, options) for name, share in SPLITS.items()}


def _split_file(share: float, options: Options) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("object", "split", "label", "image", "mask"))
    for category in COUNTS["visa"]:
        rng = np.random.default_rng([options.seed, zlib.crc32(category.encode())])
        images = list(_visa(f"visa/{category}", training_count("visa", category, options)))
        for label in ("normal", "anomaly"):
            members = [picture for picture in images if bool(picture.mask) == (label == "anomaly")]
            training = _training_share(label, len(members), share)
            # in the real files too, training images come in no order and test images are anywhere among the numbers
            for place, number in enumerate(rng.permutation(len(members))):
                split = "train" if place < training else "test"
                files = (members[number].path, members[number].mask)
                writer.writerow((category, split, label, *(file.removeprefix("visa/") for file in files)))
    return text.getvalue().encode()


def _training_share(label: str, members: int, share: float) -> int:
    if share:
        return max(1, round(members * share))
    return members - _TEST if label == "normal" else 0


def write_picture(picture: Picture, root: Path, options: Options) -> None:
    """Write a picture, and its mask if it has one."""
    files = picture.files(root)
    # by its path: no picture changes when others are added
    rng = np.random.default_rng([options.seed, zlib.crc32(picture.path.encode())])
    pixels = render(picture.category, options.size, rng)
    if picture.mask:
        pixels, defect = scratch(pixels, rng)
        _write(files[1], _encoded(defect.astype(np.uint8) * np.uint8(picture.mask_value), files[1].suffix))
    _write(files[0], _encoded(pixels, files[0].suffix))


def _encoded(pixels: NDArray[np.uint8], suffix: str) -> bytes:
    if pixels.ndim == 3:
        pixels = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), np.uint8)
    options = {".png": [cv2.IMWRITE_PNG_COMPRESSION, 1], ".JPG": [cv2.IMWRITE_JPEG_QUALITY, 95]}.get(suffix, [])
    return cv2.imencode(suffix.lower(), pixels, options)[1].tobytes()


def _write(file: Path, content: bytes) -> None:
    """Under another name first: what has its own name is complete."""
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(_part_name(file.name))
    part.write_bytes(content)
    part.replace(file)


def _part_name(name: str) -> str:
    return f".{name}.part"


def check_folder(root: Path, options: Options) -> None:
    """Make sure that a folder is empty, or a stand-in with the same options that can be completed.

    Raises:
        SystemExit: it holds something else; nothing was written.
    """
    if not root.exists():
        return
    if not root.is_dir():
        sys.exit(f"{root}: not a folder. Choose another one.")
    there = {file.relative_to(root).as_posix() for file in root.rglob("*") if not file.is_dir()}
    if there and there != {_part_name(_RECORD)}:
        if _RECORD not in there:
            sys.exit(f"{root}: it holds other files, such as {min(there)}. Choose an empty folder, or one that is not there.")
        before = json.loads((root / _RECORD).read_text(encoding="utf-8"))
        if before != _as_record(options):
            sys.exit(f"{root}: a stand-in made with {before}, not {_as_record(options)}. Choose another folder.")
        if foreign := there - _names(options):
            sys.exit(f"{root}: it holds files that are not the stand-in's, such as {min(foreign)}. Choose another folder.")


def _names(options: Options) -> set[str]:
    """Everything a stand-in may hold, unfinished files included."""
    names = {_RECORD, *split_files(options)}
    names |= {name for dataset in COUNTS for picture in pictures(dataset, options) for name in (picture.path, picture.mask)}
    return names | {str(Path(name).with_name(_part_name(Path(name).name)).as_posix()) for name in names if name}


def _as_record(options: Options) -> dict[str, float]:
    return {"size": options.size, "share": options.share, "seed": options.seed}


def make(root: Path, datasets: Iterable[str], options: Options, jobs: int) -> int:
    """Write what is missing of a stand-in; returns the number of files written.

    Raises:
        SystemExit: the folder holds something else, or a process failed (no space, say).
    """
    check_folder(root, options)
    root.mkdir(parents=True, exist_ok=True)
    if not (root / _RECORD).exists():
        _write(root / _RECORD, json.dumps(_as_record(options)).encode())
    missing = [
        p for dataset in datasets for p in pictures(dataset, options) if not all(file.exists() for file in p.files(root))
    ]
    _write_in_processes(missing, root, options, jobs)
    splits = split_files(options) if "visa" in datasets else {}
    lists = {root / name: content for name, content in splits.items() if not (root / name).exists()}
    for file, content in lists.items():  # last: with a split file there, all that it lists is there
        _write(file, content)
    return sum(len(picture.files(root)) for picture in missing) + len(lists)


def _write_in_processes(missing: Sequence[Picture], root: Path, options: Options, jobs: int) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_write_pictures, args=(missing[i::jobs], root, options)) for i in range(jobs)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if any(worker.exitcode for worker in workers):
        sys.exit(f"{root}: a process failed, see above. The same command writes what is still missing.")


def _write_pictures(missing: Sequence[Picture], root: Path, options: Options) -> None:
    cv2.setNumThreads(1)
    parent = multiprocessing.parent_process()
    for picture in missing:
        if parent is not None and not parent.is_alive():
            return  # a run that was killed leaves nobody behind who would meet the next one
        write_picture(picture, root, options)


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("root", type=Path, metavar="DIR", help="where mvtec/, visa/ and btad/ are written")
    parser.add_argument("--size", type=int, default=Options.size, help="height and width of the pictures in pixels")
    parser.add_argument("--datasets", default=",".join(COUNTS), help="which of them, separated by commas")
    parser.add_argument("--share", type=float, default=Options.share, help="share of each category's images, 0 to 1")
    parser.add_argument("--seed", type=int, default=Options.seed, help="another seed gives other pictures")
    parser.add_argument("--jobs", type=int, default=2, help="number of processes")
    options = parser.parse_args(arguments)
    options.datasets = options.datasets.split(",")
    if unknown := set(options.datasets) - set(COUNTS):
        parser.error(f"--datasets {min(unknown)}: known are {', '.join(COUNTS)}")
    if not _SMALLEST <= options.size <= _LARGEST:
        parser.error(f"--size {options.size}: {_SMALLEST} to {_LARGEST} pixels can be drawn")
    if not 0 < options.share <= 1:
        parser.error(f"--share {options.share}: above 0, at most 1")
    if options.seed < 0:
        parser.error(f"--seed {options.seed}: 0 or more")
    if options.jobs < 1:
        parser.error(f"--jobs {options.jobs}: at least 1")
    return options


def main(arguments: list[str] | None = None) -> None:
    """Write the stand-in that the command line asks for."""
    asked = _parse(arguments)
    start = time.perf_counter()
    written = make(asked.root, asked.datasets, Options(asked.size, asked.share, asked.seed), asked.jobs)
    megabytes = sum(file.stat().st_size for file in asked.root.rglob("*") if file.is_file()) / 1e6
    sys.stdout.write(
        f"{asked.root}: {written:,} files written in {time.perf_counter() - start:.0f} s; it holds {megabytes:,.0f} MB now.\n"
    )


if __name__ == "__main__":
    main()
