"""Who finds the edges: PiDiNet with weights of the user, or image gradients, behind one face.

Maps have the polarity that LogicAL's equations need: 255 where there is no edge, 0 on a strong one. Nothing here imports
torch until PiDiNet is wanted, and a detector that travels to another process reads its weights there.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from synthgen.edges import soft
from synthgen.errors import InputDataError, IntegrityError, UsageError, to_install
from synthgen.files import file_sha256
from synthgen.samples import Image, Size

if TYPE_CHECKING:
    from synthgen.edges.pidinet import PiDiNet

POLARITY = "white_background"
"""What the values of edge maps mean, as files that hold some say it: 255 is no edge, 0 an edge."""

SMALLEST_SIDE = 8
"""Pixels a side of an image needs: PiDiNet halves it three times."""

_SEEN_SIDE = 256  # pixels of the shorter side, that PiDiNet sees at least

_PIXELS_AT_ONCE = 2**20  # of one batch on a GPU, so that it needs some gigabytes at most


@dataclass(frozen=True, slots=True, eq=False)
class Edges:
    """An image's edges, 255 where there is none and 0 on a strong one, soft in between.

    Attributes:
        fine: (H, W) uint8, thin lines with all detail (PiDiNet's side output 1): the map that LogicAL edits.
        fused: (H, W) uint8, the outlines of objects and large parts (PiDiNet's fused map): what regions are cut from.
    """

    fine: NDArray[np.uint8]
    fused: NDArray[np.uint8]


class EdgeDetector(Protocol):
    """Finds edges; can be pickled."""

    @property
    def name(self) -> str:
        """`"pidinet"` or `"soft"`."""

    @property
    def sha256(self) -> str:
        """Hexadecimal digest of the weights' file; empty where there is none."""

    @property
    def licence(self) -> str:
        """A sentence on what the weights may be used for; empty where there are none."""

    def detect(self, images: Sequence[Image]) -> list[Edges]:
        """The edges of (H, W, 3) uint8 RGB images, each of any size from 8 px, in their order.

        An image has the same edges whatever the others are (on a GPU, but for rounding).

        Raises:
            InputDataError: an image is smaller.
        """


class SoftDetector:
    """Edges from gradients: needs no weights and no torch."""

    name = "soft"
    sha256 = ""
    licence = ""

    def detect(self, images: Sequence[Image]) -> list[Edges]:
        """The edges of (H, W, 3) uint8 RGB images, in their order."""
        _check_sizes(images)
        return [Edges(*(_white(soft.edge_strength(image, scale)) for scale in (soft.FINE, soft.COARSE))) for image in images]


class PidinetDetector:
    """Edges from PiDiNet.

    On a CPU, images go through one by one and on one thread, since the last bits of a convolution depend on both; run
    several processes to use several cores. On a GPU, images of one size go through together. Small images are enlarged
    before, and their maps shrunk, or their parts would drown in their own outlines.

    Attributes:
        path: the checkpoint; another process finds it in the same place.
        device: `"cpu"`, `"cuda"` or `"cuda:N"`.
        sha256: hexadecimal digest of the checkpoint.
    """

    name = "pidinet"

    def __init__(self, path: Path, device: str = "cpu") -> None:
        self.path, self.device = path, device
        self.sha256 = file_sha256(path)
        self._network: PiDiNet | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_network": None}

    @property
    def licence(self) -> str:
        """What the weights may be used for."""
        from synthgen.edges import pidinet

        return pidinet.LICENCE

    @property
    def _on_cpu(self) -> bool:
        return self.device.partition(":")[0] == "cpu"

    def load(self) -> "PiDiNet":
        """The network, read on the first call in each process.

        Raises:
            InputDataError, IntegrityError: the checkpoint is missing, damaged, of another network, or no longer the same.
            UsageError: PyTorch or the device is not there.
        """
        if self._network is None:
            try:
                import torch
            except ModuleNotFoundError as error:
                raise UsageError(f"PiDiNet needs PyTorch: {to_install('detectors')}.") from error
            from synthgen.edges.pidinet import load_pidinet

            network = load_pidinet(self.path, self.device).to_plain()
            if file_sha256(self.path) != self.sha256:
                raise IntegrityError(f"{self.path}: changed since its use began. Put the first one back, or start anew.")
            if self._on_cpu:  # half as fast again there
                network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            self._network = network
        return self._network

    def detect(self, images: Sequence[Image]) -> list[Edges]:
        """The edges of (H, W, 3) uint8 RGB images, in their order."""
        _check_sizes(images)
        network = self.load()
        edges: dict[int, Edges] = {}
        enlarged = [_enlarged(image) for image in images]
        from synthgen.runs.devices import exactly

        with exactly():
            for places in self._batches(enlarged):
                batch = _run(network, np.stack([enlarged[place] for place in places]), self.device)
                for place, maps in zip(places, batch, strict=True):
                    edges[place] = Edges(*(_shrunk(values, images[place].shape) for values in (maps.fine, maps.fused)))
        return [edges[place] for place in range(len(images))]

    def _batches(self, images: Sequence[Image]) -> Iterator[list[int]]:
        """The places of images that go through the network together."""
        by_size: dict[Size, list[int]] = {}
        for place, image in enumerate(images):
            by_size.setdefault((image.shape[0], image.shape[1]), []).append(place)
        for (height, width), places in by_size.items():
            most = 1 if self._on_cpu else max(1, _PIXELS_AT_ONCE // (height * width))
            for start in range(0, len(places), most):
                yield places[start : start + most]


def _enlarged(image: Image) -> Image:
    """The image, a whole number of times larger if it is small: PiDiNet's lines have 5 to 8 pixels, however small a part."""
    times = -(-_SEEN_SIDE // min(image.shape[:2]))
    if times == 1:
        return image
    size = (image.shape[1] * times, image.shape[0] * times)
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_CUBIC), np.uint8)


def _shrunk(edges: NDArray[np.uint8], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """An edge map at the (height, width) of the image it is of."""
    if edges.shape == shape[:2]:
        return edges
    return np.asarray(cv2.resize(edges, (shape[1], shape[0]), interpolation=cv2.INTER_AREA), np.uint8)


def make_detector(weights: Path | None, device: str = "cpu") -> EdgeDetector:
    """PiDiNet with the checkpoint `weights`, or gradients where there is none.

    Raises:
        InputDataError, IntegrityError, UsageError: as `PidinetDetector.load`, which is tried once so that it is known now.
    """
    if weights is None:
        return SoftDetector()
    detector = PidinetDetector(weights, device)
    detector.load()
    return detector


def _run(network: "PiDiNet", images: NDArray[np.uint8], device: str) -> list[Edges]:
    """The edges of a (N, H, W, 3) uint8 batch."""
    import torch

    from synthgen.edges.pidinet import edge_maps

    with torch.inference_mode():
        batch = torch.from_numpy(images).to(device).permute(0, 3, 1, 2).float() / 255
        maps = edge_maps(network, batch)
    fine, fused = (_white(maps[output][:, 0].cpu().numpy()) for output in (0, -1))
    return [Edges(*pair) for pair in zip(fine, fused, strict=True)]


def _white(strength: NDArray[np.float32]) -> NDArray[np.uint8]:
    """uint8, 255 where an edge strength of 0 to 1 is 0."""
    return np.rint(255 * (1 - strength)).astype(np.uint8)


def _check_sizes(images: Sequence[Image]) -> None:
    for image in images:
        if min(image.shape[:2]) < SMALLEST_SIDE:
            size = " x ".join(map(str, image.shape[:2]))
            raise InputDataError(f"an image of {size} px is too small for edges: each side needs {SMALLEST_SIDE} px.")
