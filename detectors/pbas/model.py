"""PBAS's parts: the embedding of backbone features, the projector, the centre, the discriminator and the anomaly map."""

from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from detectors.data.backbones import IMAGENET_DEVIATION, IMAGENET_MEAN, Backbone
from detectors.pbas.config import PBASConfig
from synthgen.runs.devices import in_full

_CHUNK = 8192  # features whose distances to all centres are in memory at a time


class Embedding(nn.Module):
    """Patch features of several levels, aggregated and concatenated (paper, Eqs. 2 to 4).

    The authors' code writes out the neighbourhood of every location, scales the second level's up, and averages runs of
    values twice. All of it is linear and no run crosses two levels, so here a grouped convolution makes the averages at
    each level's own size, and only they are scaled up.

    Args:
        channels: of each level.
        length: of the embedding, a multiple of the number of levels.
        patch: side of the neighbourhood; beyond the border there are zeros, which count in the averages.
    """

    def __init__(self, channels: Sequence[int], length: int, patch: int) -> None:
        super().__init__()
        self.length = length
        self._patch = patch
        self._groups = []
        for number, count in enumerate(channels):
            weight, groups = _grouped(_averages(count * patch**2, length, len(channels)), patch**2)
            self._groups.append(groups)
            self.register_buffer(f"weight{number}", weight.reshape(len(weight), -1, patch, patch), persistent=False)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """The embedding.

        Args:
            maps: (B, C, h, w) float of each level, the largest first.

        Returns:
            (B, E, H, W) float, of the first level's height and width.
        """
        size = maps[0].shape[-2:]
        parts = []
        for number, (level, groups) in enumerate(zip(maps, self._groups, strict=True)):
            weight = getattr(self, f"weight{number}").to(level.dtype)
            part = functional.conv2d(level, weight, padding=self._patch // 2, groups=groups)
            if part.shape[-2:] != size:
                part = functional.interpolate(part, size=size, mode="bilinear", align_corners=False)
            parts.append(part)
        return torch.cat(parts, dim=1)


def _averages(values: int, length: int, levels: int) -> Tensor:
    """(length / levels, values) float32: what one level contributes, as averages of its neighbourhood's values."""
    first = torch.zeros(length, values)  # each level is averaged to the whole length, as `adaptive_avg_pool1d` does
    for row in range(length):
        start, end = row * values // length, -(-(row + 1) * values // length)
        first[row, start:end] = 1 / (end - start)
    return first.reshape(length // levels, levels, values).mean(1)  # then all levels together


def _grouped(weight: Tensor, per_channel: int) -> tuple[Tensor, int]:
    """The diagonal blocks of a block-diagonal matrix, below one another, and how many there are: as many as there can be."""
    rows, columns = weight.shape
    for groups in range(int(np.gcd(rows, columns // per_channel)), 0, -1):
        if rows % groups or (columns // per_channel) % groups:
            continue
        blocks = weight.reshape(groups, rows // groups, groups, columns // groups)
        diagonal = blocks[torch.arange(groups), :, torch.arange(groups)]
        if torch.count_nonzero(diagonal) == torch.count_nonzero(weight):
            return diagonal.reshape(rows, columns // groups).contiguous(), groups
    raise AssertionError("one group always does")


class Features(nn.Module):
    """From pixels to embedded features: normalisation, backbone, embedding. Nothing in it is trained."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, backbone: Backbone, config: PBASConfig) -> None:
        super().__init__()
        self.backbone = backbone
        self.embedding = Embedding(backbone.channels, config.embedding_length, config.patch)
        self.register_buffer("mean", 255 * torch.tensor(IMAGENET_MEAN)[:, None, None], persistent=False)
        self.register_buffer("deviation", 255 * torch.tensor(IMAGENET_DEVIATION)[:, None, None], persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """(B, E, H, W) float features of (B, 3, S, S) RGB images of values 0 to 255."""
        maps = self.backbone((images - self.mean) / self.deviation)
        features: Tensor = self.embedding(maps)
        return features


class Projector(nn.Linear):
    """The trainable linear map of features (paper, III-C), initialised with a normal distribution (Xavier)."""

    def __init__(self, length: int) -> None:
        super().__init__(length, length)
        nn.init.xavier_normal_(self.weight)


class FeatureDiscriminator(nn.Sequential):
    """How anomalous a feature is (paper, III-E): linear layers with batch norm and leaky ReLU between; gives a logit.

    The sigmoid is left to the loss and to the score: in half precision that of most anomalies would be 1.
    """

    def __init__(self, length: int, layers: int, width: int) -> None:
        blocks: list[nn.Module] = []
        for _ in range(layers - 1):
            blocks += [nn.Linear(length, width), nn.BatchNorm1d(width), nn.LeakyReLU(0.2)]
            length = width
        super().__init__(*blocks, nn.Linear(length, 1, bias=False))

    def forward(self, features: Tensor) -> Tensor:
        """(R, 1) logits, at least float32, of (R, E) features."""
        *blocks, last = self
        for block in blocks:
            features = block(features)
        return in_full(last, features)


class Head(nn.Module):
    """What PBAS trains, and the centre it is trained with.

    Attributes:
        projector, discriminator: the networks; `discriminator` is None where ABL alone is trained.
        centre: (K, E) float32, one vector per location of the feature map.
    """

    centre: Tensor

    def __init__(self, config: PBASConfig, locations: int) -> None:
        super().__init__()
        length = config.embedding_length
        self.metric = config.metric
        self.projector = Projector(length)
        self.discriminator = (
            None
            if config.synthesis == "none"
            else FeatureDiscriminator(length, config.discriminator_layers, config.discriminator_width)
        )
        self.register_buffer("centre", torch.zeros(locations, length))

    def forward(self, features: Tensor) -> Tensor:
        """Anomaly scores of (R, E) features: (R,) at least float32; from 0 to 1 by the discriminator, else distances."""
        projected = self.projector(features)
        if self.discriminator is None:
            projected = projected.to(self.centre.dtype)
            centres = self.centre[nearest(projected, self.centre, self.metric)]
            distances: Tensor = torch.linalg.vector_norm(projected - centres, dim=1)
            return distances
        return torch.sigmoid(self.discriminator(projected)[:, 0])


class PBAS(nn.Module):
    """The whole detector: images in, anomaly maps and image scores out (paper, Eqs. 11 and 12)."""

    spread: Tensor

    def __init__(self, features: Features, head: Head, config: PBASConfig) -> None:
        super().__init__()
        self.features, self.head, self.config = features, head, config
        side = feature_side(features.backbone.levels[0], config.size)
        self.register_buffer("spread", spreading(side, config.size, config.smoothing), persistent=False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Score images.

        Args:
            images: (B, 3, S, S) float RGB, 0 to 255.

        Returns:
            Anomaly maps (B, S, S) float and image scores (B,) float; larger is more anomalous.
        """
        return self.score(self.features(images))

    def score(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """The same of (B, E, H, W) features."""
        batch, length, height, width = features.shape
        rows = features.permute(0, 2, 3, 1).reshape(-1, length)
        return self.spread_out(self.head(rows).reshape(batch, height, width))

    def spread_out(self, patches: Tensor) -> tuple[Tensor, Tensor]:
        """From (B, H, W) scores of patches to anomaly maps and image scores: the largest patch, before any smoothing."""
        with torch.autocast(patches.device.type, enabled=False):  # the last digits of scores are worth keeping
            maps = self.spread @ patches.to(self.spread.dtype) @ self.spread.T
        return maps, patches.flatten(1).amax(1)


def feature_side(level: int, size: int) -> int:
    """Side of a level's feature map for images of side `size`."""
    for _ in range(level + 1):
        size = -(-size // 2)
    return size


def spreading(side: int, size: int, smoothing: float) -> Tensor:
    """(size, side) float32 matrix A with A m Aᵀ = a (side, side) map m scaled up bilinearly and Gaussian-smoothed.

    Both act on rows and columns alike and are linear, so that two small products replace them.

    Args:
        side: of the map.
        size: wanted, in pixels.
        smoothing: deviation of the Gaussian in pixels; cut off at 4 deviations, mirrored at the border, as SciPy does it.
    """
    from scipy.ndimage import gaussian_filter1d

    rows = functional.interpolate(torch.eye(side, dtype=torch.float64)[None], size=size, mode="linear", align_corners=False)
    smooth = gaussian_filter1d(rows[0].numpy(), smoothing, axis=1)
    return torch.from_numpy(smooth.T.astype(np.float32).copy())


def nearest(features: Tensor, centre: Tensor, metric: Literal["cosine", "euclidean"]) -> Tensor:
    """Index of each feature's nearest centre.

    Args:
        features: (R, E) float.
        centre: (K, E) float.
        metric: `cosine` (authors' code) or `euclidean` (paper).

    Returns:
        (R,) int64; the first of equally near ones.
    """
    if metric == "cosine":  # the feature's own length changes no comparison
        columns, offsets = functional.normalize(centre, dim=1).T, None
    else:  # |u - c|^2 = |u|^2 - 2 (u c - |c|^2 / 2)
        columns, offsets = centre.T, 0.5 * centre.square().sum(1)
    parts = []
    # an exported graph takes any number of rows, which no list of chunks does
    for rows in (features,) if torch.compiler.is_exporting() else torch.split(features, _CHUNK):
        likeness = rows @ columns
        parts.append((likeness if offsets is None else likeness - offsets).argmax(1))
    return torch.cat(parts) if len(parts) != 1 else parts[0]


def initial_centre(batches: Iterable[Tensor], config: PBASConfig, project: Callable[[Tensor], Tensor]) -> Tensor:
    """The centre of the projected normal features, fixed before training (paper, Algorithm 1, lines 3 to 17).

    Args:
        batches: the training images' features, (B, K, E) each.
        config: says how.
        project: the projector as it is initialised.

    Returns:
        (K, E) float32.
    """
    centre: Tensor | None = None
    seen = 0
    for batch in batches:
        mean = project(batch.flatten(0, 1)).reshape(batch.shape).mean(0).float()
        if centre is None:
            centre = mean
        elif config.centre == "average":
            centre = centre + (mean - centre) * (len(batch) / (seen + len(batch)))
        elif config.centre == "iterative":
            centre = torch.lerp(centre, mean, config.momentum)
        else:
            index = nearest(mean, centre, config.metric)
            update = compounding_average if config.centre_update == "sequential" else single_average
            centre = update(centre, mean, index, config.momentum)
        seen += len(batch)
    if centre is None:
        raise ValueError("no batches")
    return centre


def compounding_average(centre: Tensor, values: Tensor, index: Tensor, momentum: float) -> Tensor:
    """`centre[index[j]] = (1 - momentum) * centre[index[j]] + momentum * values[j]` for one j after the other, at once.

    Args:
        centre: (K, E) float32.
        values: (R, E) float32.
        index: (R,) int64 of 0 to K - 1; repeats compound in order.
        momentum: 0 to 1.

    Returns:
        (K, E) float32, another tensor.
    """
    order = torch.sort(index, stable=True).indices
    count = torch.bincount(index, minlength=len(centre))
    first = torch.cumsum(count, 0) - count
    place = torch.empty_like(index)
    place[order] = torch.arange(len(index), device=index.device) - first[index[order]]
    keep = 1.0 - momentum
    later = (count[index] - 1 - place).to(centre.dtype)  # updates of the same centre that follow
    moved = (keep ** count.to(centre.dtype))[:, None] * centre
    return moved.index_add(0, index, momentum * (keep**later)[:, None] * values)


def single_average(centre: Tensor, values: Tensor, index: Tensor, momentum: float) -> Tensor:
    """Each matched centre moves once, towards the mean of its matches (the paper's sets). As `compounding_average`."""
    count = torch.bincount(index, minlength=len(centre)).to(centre.dtype)[:, None]
    mean = torch.zeros_like(centre).index_add(0, index, values) / count.clamp(min=1)
    return torch.where(count > 0, torch.lerp(centre, mean, momentum), centre)
