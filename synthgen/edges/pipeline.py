"""All that edge edits of a dataset's normal images work with: their edges and regions, their donors, and the generator.

What a user brings is `EdgeAssets`; it travels to worker processes, and each of them sets up its `EdgePipeline` once. Edges and
regions are worked out once per image and kept on disk.
"""

from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from synthgen import cache
from synthgen.datasets import NormalSource, read_normal
from synthgen.edges.detector import EdgeDetector, make_detector
from synthgen.edges.editing import Donors, EdgeMap, EdgeScene
from synthgen.errors import InputDataError, IntegrityError, UsageError
from synthgen.files import file_sha256
from synthgen.samples import Image, Mask, NormalImage, Size

if TYPE_CHECKING:
    from synthgen.edges.model import EdgeGenerator
    from synthgen.edges.regions import Regions
    from synthgen.edges.sam import SamRegions

VERSION = 2
"""Raised whenever edges or regions change; part of the cache's key."""

_KEPT = 128  # scenes in memory: 0.3 MB each at 256 pixels


@dataclass(frozen=True, slots=True)
class EdgeAssets:
    """What a user brings for edge edits.

    Attributes:
        generator: a trained generator, its file or its training's folder.
        pidinet: PiDiNet's weights; None for the edges that need none.
        sam: SAM's weights; None for regions between edges.
        device: `cpu`, `cuda` or `cuda:N`.
        sealed: digests of these files, once they were looked at: what was planned with is what is used, in every process.
    """

    generator: Path
    pidinet: Path | None = None
    sam: Path | None = None
    device: str = "cpu"
    sealed: tuple[str, ...] = ()

    def seal(self) -> "EdgeAssets":
        """The same with the digests of the files. Raises InputDataError or UsageError if one is missing."""
        if self.sam is not None:
            from synthgen.edges.sam import require

            require(self.sam)
        return replace(self, sealed=self._digests())

    def check_seal(self) -> None:
        """Raise an IntegrityError if a file is no longer what it was."""
        if self.sealed and self.sealed != self._digests():
            raise IntegrityError(
                f"--edge-generator {self.generator} or the weights beside it changed since this began. Start anew."
            )

    def _digests(self) -> tuple[str, ...]:
        from synthgen.edges.model import model_file

        files = (model_file(self.generator), self.pidinet, self.sam)
        return tuple(file_sha256(file) if file is not None else "" for file in files)


@lru_cache(maxsize=2)
def edge_pipeline(assets: EdgeAssets) -> "EdgePipeline":
    """This process's pipeline."""
    return EdgePipeline(assets)


class EdgePipeline:
    """What `EdgeAssets` name, loaded when it is first needed."""

    def __init__(self, assets: EdgeAssets) -> None:
        self.assets = assets
        self._scenes: OrderedDict[tuple[str, tuple[int, ...]], EdgeScene] = OrderedDict()
        self._read: dict[tuple[object, ...], tuple[str, tuple[int, ...]]] = {}

    @cached_property
    def generator(self) -> "EdgeGenerator":
        """The generator. Raises what `load_generator` raises."""
        from synthgen.edges.model import load_generator

        loaded = load_generator(self.assets.generator, self.assets.device)
        self.assets.check_seal()
        return loaded

    @cached_property
    def detector(self) -> EdgeDetector:
        """The edge detector, which must be the one that the generator learned from.

        Raises:
            UsageError: it is another one.
        """
        detector, card = make_detector(self.assets.pidinet, self.assets.device), self.generator.card
        if (detector.name, detector.sha256) != (card.edges, card.edges_sha256):
            learned_from = "image gradients: leave --weights away"
            if card.edges_sha256:
                learned_from = f"PiDiNet with the weights of SHA-256 {card.edges_sha256}: give these by --weights pidinet=FILE"
            raise UsageError(
                f"--edge-generator {self.assets.generator}: was trained on the edges of {learned_from}, "
                "or train a generator on other edges."
            )
        return detector

    @cached_property
    def _regions_name(self) -> str:
        if self.assets.sam is None:
            return "watershed"
        return f"sam {file_sha256(self.assets.sam)}"

    @cached_property
    def identity(self) -> dict[str, str]:
        """What decides the pictures besides the images, as JSON types."""
        return {
            "generator_sha256": (self.assets.sealed or self.assets.seal().sealed)[0],
            "edges": f"{self.detector.name} {self.detector.sha256}".rstrip(),
            "regions": self._regions_name,
            "device": self.assets.device.partition(":")[0],
            "drawn_size": "x".join(str(side) for side in self.size),
        }

    @property
    def size(self) -> Size:
        """(height, width) of the generator's pictures."""
        return self.generator.size

    def check(self, dataset: str, categories: Sequence[str]) -> None:
        """Raise a UsageError unless the generator was trained on these categories."""
        card = self.generator.card
        strange = sorted(set(categories) - set(card.categories))
        if card.dataset != dataset or strange:
            raise UsageError(
                f"--edge-generator {self.assets.generator}: was trained on {card.dataset} ({', '.join(card.categories)}), "
                f"not on {dataset} ({', '.join(strange or categories)}). `synthgen train edge-generator` trains one for it."
            )

    def scene(self, normal: NormalImage) -> EdgeScene:
        """Edges and regions of a normal image, at the generator's size; from memory or from the disk if they are known."""
        key = (cache.identity(normal), normal.pixels.shape[:2])
        if key not in self._scenes:
            self._scenes[key] = self._known(normal)
            if len(self._scenes) > _KEPT:
                self._scenes.popitem(last=False)
        self._scenes.move_to_end(key)
        return self._scenes[key]

    def scene_of(self, source: NormalSource, size: Size, bit_depth: int) -> EdgeScene:
        """The scene of an image on disk, which is not decoded again while it is in memory.

        Raises:
            InputDataError: it cannot be read.
        """
        state = source.path.stat() if source.path is not None and source.path.exists() else None
        file = (source.dataset, source.source, source.path, state and (state.st_size, state.st_mtime_ns), size, bit_depth)
        known = self._scenes.get(self._read.get(file, ("", ())))
        if known is None:
            normal = read_normal(source, size, bit_depth)
            known = self.scene(normal)
            self._read[file] = (cache.identity(normal), normal.pixels.shape[:2])
        return known

    def _known(self, normal: NormalImage) -> EdgeScene:
        """The scene, its foreground the whole image."""
        from synthgen.edges.regions import Regions

        height, width = self.size
        edges, regions_name = f"{self.detector.name}-{self.detector.sha256}".rstrip("-"), self._regions_name.replace(" ", "-")
        device, read = self.assets.device.partition(":")[0], "x".join(str(side) for side in normal.pixels.shape[:2])
        key = f"{VERSION}-{edges}-{regions_name}-{device}-{read}-{height}x{width}"
        place, pixels = cache.entry("scenes", key, normal), height * width
        data = cache.load(place)
        if data is None or len(data) != 2 * pixels + 1:
            fine, regions = self._worked_out(normal.pixels)
            data = fine.tobytes() + regions.labels.tobytes() + bytes([regions.available])
            cache.store(place, data)
        fine = np.frombuffer(data, np.uint8, pixels).reshape(height, width)
        labels = np.frombuffer(data, np.uint8, pixels, pixels).reshape(height, width)
        return EdgeScene(
            fine.astype(np.float32) * np.float32(1 / 255), Regions(labels, bool(data[-1])), np.ones((height, width), np.uint8)
        )

    def _worked_out(self, pixels: Image) -> tuple[NDArray[np.uint8], "Regions"]:
        from synthgen.edges.regions import refine
        from synthgen.edges.watershed import edge_segments

        image = fit(pixels, self.size)
        (edges,) = self.detector.detect([image])
        masks, foreground = edge_segments(1 - edges.fused.astype(np.float32) / 255)
        if self.assets.sam is not None:
            masks = [fit_mask(mask.astype(np.uint8), self.size) > 0 for mask in self._sam.masks(pixels)]
        return edges.fine, refine(masks, image, foreground)

    @cached_property
    def _sam(self) -> "SamRegions":
        from synthgen.edges.sam import SamRegions

        assert self.assets.sam is not None
        return SamRegions(self.assets.sam, self.assets.device)


@dataclass(frozen=True, slots=True)
class CategoryEdges:
    """What the edge edits of one category share; travels to worker processes.

    Attributes:
        assets: what the user brought.
        sources: the category's normal images, all of which may lend edges.
        size: (height, width) of the samples, at which images are read.
        bit_depth: of 16-bit files.
    """

    assets: EdgeAssets
    sources: tuple[NormalSource, ...]
    size: Size
    bit_depth: int = 16

    def edit_context(self, normal: NormalImage, foreground: Mask) -> "EditContext":
        """What the edits of one normal image work with.

        Args:
            normal: the image.
            foreground: (H, W) uint8 {0, 1}, where its object is.
        """
        pipeline = edge_pipeline(self.assets)
        others = {source.source: source for source in self.sources if source.source != normal.source}
        scene = replace(pipeline.scene(normal), foreground=fit_mask(foreground, pipeline.size))
        return EditContext(scene, Donors(tuple(others), partial(self._lent, others)), pipeline)

    def warm(self, sources: Sequence[NormalSource]) -> int:
        """Work out some images' edges and regions, for the cache; how many there are. The build reports unreadable ones."""
        for source in sources:
            with suppress(InputDataError):
                edge_pipeline(self.assets).scene_of(source, self.size, self.bit_depth)
        return len(sources)

    def without(self, barred: Collection[str]) -> "CategoryEdges":
        """The same without images that must not be read (`dataset/category/stem`), since reading them killed workers."""
        sources = (source for source in self.sources if f"{source.dataset}/{source.category}/{source.stem}" not in barred)
        return replace(self, sources=tuple(sources))

    def _lent(self, others: Mapping[str, NormalSource], name: str) -> EdgeScene:
        return edge_pipeline(self.assets).scene_of(others[name], self.size, self.bit_depth)


@dataclass(slots=True, eq=False)
class EditContext:
    """What the edge edits of one normal image work with.

    Attributes:
        scene: its edges, regions and foreground.
        donors: the other images of its category.
        pipeline: draws the pictures.
        generated: the generator's picture of the unedited edges, once it was drawn.
    """

    scene: EdgeScene
    donors: Donors
    pipeline: EdgePipeline
    generated: Image | None = field(default=None)


def draw_pictures(contexts: Sequence[EditContext], maps: Sequence[EdgeMap]) -> list[Image]:
    """The pictures of edited edge maps, one for each context; those of the unedited maps are drawn with them, where missing."""
    if not contexts:
        return []
    missing = list({id(context): context for context in contexts if context.generated is None}.values())
    pictures = contexts[0].pipeline.generator.draw([*(context.scene.edges for context in missing), *maps])
    for context, picture in zip(missing, pictures[: len(missing)], strict=True):
        context.generated = picture
    return pictures[len(missing) :]


def fit(image: Image, size: Size) -> Image:
    """A picture at (height, width) `size`."""
    if image.shape[:2] == size:
        return image
    smaller = size[0] <= image.shape[0] and size[1] <= image.shape[1]
    return np.asarray(cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LANCZOS4), np.uint8)


def fit_mask(mask: Mask, size: Size) -> Mask:
    """A mask at (height, width) `size`."""
    return np.asarray(cv2.resize(mask, size[::-1], interpolation=cv2.INTER_NEAREST), np.uint8)
