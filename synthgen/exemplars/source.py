"""A category's real defects as files: found, checked, and taken apart wherever they are needed."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from synthgen.datasets.defects import NORMAL, DefectFile, list_defects
from synthgen.datasets.images import read_image
from synthgen.datasets.listing import is_folder, printable, subfolders
from synthgen.datasets.masks import image_size, read_mask_files, resize_keeping_area
from synthgen.errors import InputDataError
from synthgen.exemplars.exemplar import Exemplar, ExemplarSet
from synthgen.exemplars.stillness import lies_still
from synthgen.exemplars.taking_apart import take_apart
from synthgen.files import file_sha256
from synthgen.foreground import Method, find_foreground
from synthgen.painting.surface import Surface
from synthgen.samples import Mask, NormalImage, Size

OPTION = "--from-real"
_MOST_OF_IMAGE = 0.5
_MOST_OF_OBJECT = 0.6
_SAME_SCALE = 0.1  # by how much the sides of photographs may differ from those of normal images


@dataclass(frozen=True, slots=True)
class ExemplarFile:
    """A photograph of a defect that is copied.

    Attributes:
        name: path relative to the folder of defects, with forward slashes.
        path: the file.
        kind: of the defect.
        masks: the files of its mask.
        sha256: hexadecimal digest of the photograph's file.
        masks_sha256: those of the masks' files.
    """

    name: str
    path: Path
    kind: str
    masks: tuple[Path, ...]
    sha256: str
    masks_sha256: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExemplarSource:
    """What exemplars are made from: any process makes the same of it.

    Attributes:
        folder: of the defects.
        files: those that are used, in code point order of their names.
        dataset, category: whose they are.
        method: how the object is found in them.
        size: (height, width) they are resized to, as the normal images are.
        bit_depth: of 16-bit files.
        still: whether the product lies in the same place in all normal images.
    """

    folder: Path
    files: tuple[ExemplarFile, ...]
    dataset: str
    category: str
    method: Method
    size: Size
    bit_depth: int
    still: bool

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the copies besides their parameters, as JSON types; the folder's own place says nothing."""
        return {
            "still": self.still,
            "files": [[file.name, file.kind, file.sha256, list(file.masks_sha256)] for file in self.files],
        }

    def sentence(self) -> str:
        """For people, such as `12 real defects: crack 5, stain 7`."""
        return described(self.identity["files"])

    def load(self) -> ExemplarSet:
        """The exemplars.

        Raises:
            InputDataError: a file has changed, or cannot be read any more.
        """
        return _loaded(self)


def described(files: Sequence[Sequence[Any]]) -> str:
    """The files of an `ExemplarSource.identity`, for people, such as `12 real defects: crack 5, stain 7`."""
    kinds = Counter(str(kind) for _, kind, *_ in files)
    counted = ", ".join(f"{kind} {count}" for kind, count in sorted(kinds.items()))
    return f"{len(files)} real defect{'s' if len(files) != 1 else ''}: {counted}"


def folder_of(folder: Path, category: str, alone: bool) -> Path | None:
    """Where the real defects of a category are; None where there are none.

    Args:
        folder: the user's.
        category: name of the category: its defects are in a folder of its name.
        alone: whether it is the only one; then `folder` itself may be its own.
    """
    own = folder / category
    if not alone:
        return own if is_folder(own) else None
    return own if is_folder(own) and subfolders(own) else folder


@lru_cache(maxsize=8)
def _loaded(source: ExemplarSource) -> ExemplarSet:
    exemplars: list[Exemplar] = []
    for file in source.files:
        digests = [file_sha256(path) for path in (file.path, *file.masks)]
        if digests != [file.sha256, *file.masks_sha256]:
            raise InputDataError(f"{printable(str(file.path))}: it or its mask has changed since the build was planned.")
        exemplars += _taken_apart(source, file)
    return ExemplarSet(tuple(exemplars), source.still)


def _taken_apart(source: ExemplarSource, file: ExemplarFile) -> list[Exemplar]:
    pixels, sha256 = read_image(file.path, source.size, source.bit_depth)
    pixels.setflags(write=False)
    photograph = NormalImage(source.dataset, source.category, file.name, sha256, pixels)
    foreground = find_foreground(photograph, _findable(source.method)).mask
    mask = resize_keeping_area(read_mask_files(file.path, file.masks), source.size)
    return take_apart(file.name, file.kind, sha256, Surface(pixels, foreground), mask)


def _findable(method: Method) -> Method:
    """How the object is found in a photograph of a defect, of which the user has drawn no outline."""
    return Method("object", share=method.share) if method.folder is not None else method


def exemplar_source(
    folder: Path,
    place: tuple[str, str],
    *,
    normals: Sequence[Surface],
    normal_files: Sequence[Path],
    method: Method,
    size: Size,
    bit_depth: int,
) -> tuple[ExemplarSource, tuple[str, ...]]:
    """Find and check the real defects of a category.

    Args:
        folder: see `list_defects`.
        place: (dataset, category) whose they are.
        normals: some of its normal images.
        normal_files: the files of some, one of whose sizes the photographs should have.
        method: how the object is found.
        size: (height, width) to resize to, as the normal images are.
        bit_depth: of 16-bit files.

    Returns:
        What was found, and a line for each thing that a person should know, such as a file that is left out.

    Raises:
        InputDataError: there is nothing to copy, or a file cannot be read, or a mask is none of its image.
    """
    found = list_defects(folder, OPTION)
    defects = [file for file in found if file.kind != NORMAL]
    told = []
    if len(defects) < len(found):
        told.append(
            f"{OPTION} {printable(str(folder))}: {len(found) - len(defects)} normal images in it are no defects: left out"
        )
    if is_folder(folder / "test"):
        told.append(f"{printable(str(folder))}: these are images of a test split; a figure measured on them is no benchmark")
    source = ExemplarSource(
        folder=folder,
        files=(),
        dataset=place[0],
        category=place[1],
        method=method,
        size=size,
        bit_depth=bit_depth,
        still=lies_still(normals),
    )
    files: dict[str, ExemplarFile] = {}
    for file in defects:
        reason = _unusable(file, source, files)
        if reason:
            told.append(f"{printable(str(file.path))}: {reason}: left out")
    if not files:
        reasons = "".join(f"\n  {line}" for line in told[:5])
        raise InputDataError(f"{OPTION} {printable(str(folder))}: none of its {len(defects)} defects can be used.{reasons}")
    told += _other_scale([file.path for file in files.values()], normal_files)
    used = replace(source, files=tuple(files.values()))
    if len(files) == 1:
        told.append(f"{printable(str(folder))}: one defect alone; detectors will know little but this one")
    return used, tuple(told)


def recorded_source(
    folder: Path, place: tuple[str, str], recorded: Mapping[str, Any], *, method: Method, size: Size, bit_depth: int
) -> ExemplarSource:
    """What `ExemplarSource.identity` described, as far as it lies in a folder: those of its files that have the same name.

    Raises:
        InputDataError: there is no such folder, or nothing in it, or a file cannot be read.
    """
    names = {name for name, *_ in recorded["files"]}
    files = tuple(_entry(file) for file in list_defects(folder, OPTION) if file.name in names)
    return ExemplarSource(
        folder=folder,
        files=files,
        dataset=place[0],
        category=place[1],
        method=method,
        size=size,
        bit_depth=bit_depth,
        still=recorded["still"],
    )


def _entry(file: DefectFile) -> ExemplarFile:
    digests = tuple(file_sha256(path) for path in file.masks)
    return ExemplarFile(file.name, file.path, file.kind, file.masks, file_sha256(file.path), digests)


def _unusable(file: DefectFile, source: ExemplarSource, files: dict[str, ExemplarFile]) -> str:
    """Why a photograph cannot be used, else empty; what can be used is put into `files`, by digest."""
    if not file.masks:
        return f"it has no mask (ground_truth/{file.kind}/{file.path.stem}_mask.png)"
    entry = _entry(file)
    if entry.sha256 in files:
        return f"the same picture as {files[entry.sha256].name}"
    mask = read_mask_files(file.path, file.masks)
    if not mask.any():
        return "its mask is empty"
    if mask.mean() > _MOST_OF_IMAGE:
        return f"its mask marks {100 * mask.mean():.0f} % of the image (is it inverted?)"
    if not _taken_apart(source, entry):
        return "what its mask marks is too small to copy"
    share = _share_of_object(source, entry, mask)
    if share > _MOST_OF_OBJECT:
        return f"the defect covers {100 * share:.0f} % of the object, and nothing would be left to put it on"
    files[entry.sha256] = entry
    return ""


def _share_of_object(source: ExemplarSource, file: ExemplarFile, mask: Mask) -> float:
    """Of the object in a photograph that is marked, 0..1."""
    pixels, sha256 = read_image(file.path, source.size, source.bit_depth)
    photograph = NormalImage(source.dataset, source.category, file.name, sha256, pixels)
    foreground = find_foreground(photograph, _findable(source.method)).mask
    return float(foreground[resize_keeping_area(mask, source.size) > 0].sum() / max(int(foreground.sum()), 1))


def _other_scale(photographs: Sequence[Path], normals: Sequence[Path]) -> list[str]:
    """What is odd about the sizes of photographs: one line, or none."""
    known = [image_size(path) for path in normals]

    def is_odd(size: Size) -> bool:
        return all(max(abs(size[0] / height - 1), abs(size[1] / width - 1)) > _SAME_SCALE for height, width in known)

    odd = [path for path in photographs if is_odd(image_size(path))]
    if not odd or not known:
        return []
    (height, width), (normal_height, normal_width) = image_size(odd[0]), known[0]
    others = f" (and {len(odd) - 1} more)" if len(odd) > 1 else ""
    return [
        f"{printable(str(odd[0]))}{others} has {width}x{height} pixels where normal images have such as "
        f"{normal_width}x{normal_height}: all are resized to the same size, so that a defect is copied at another scale "
        "if a photograph shows a part of the view alone"
    ]
