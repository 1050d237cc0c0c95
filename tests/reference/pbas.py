"""PBAS the slow, obvious way, step by step as the paper and the authors' description have it: what ours is compared with."""

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import nn
from torch.nn import functional as F


def embedding(maps, length, patch=3):
    """Neighbourhoods written out, scaled up at full length, averaged to `length` twice: (B * H * W, length)."""
    batch, _, height, width = maps[0].shape
    levels = []
    for level in maps:
        unfolded = F.unfold(level, patch, padding=patch // 2)  # (B, C * patch^2, h * w), channel by channel
        unfolded = unfolded.reshape(batch, -1, *level.shape[-2:])
        if level.shape[-2:] != (height, width):
            unfolded = F.interpolate(unfolded, size=(height, width), mode="bilinear", align_corners=False)
        rows = unfolded.permute(0, 2, 3, 1).reshape(batch * height * width, 1, -1)
        levels.append(F.adaptive_avg_pool1d(rows, length)[:, 0])
    stacked = torch.stack(levels, dim=1).reshape(batch * height * width, 1, -1)
    return F.adaptive_avg_pool1d(stacked, length)[:, 0]


def nearest(features, centre, metric):
    """Index of each feature's nearest centre, from the whole table of likenesses."""
    if metric == "cosine":
        table = F.normalize(features, dim=1) @ F.normalize(centre, dim=1).T
        return table.argmax(1)
    return torch.cdist(features, centre).argmin(1)


def update_centre(centre, mean, metric, momentum=0.1):
    """One vector after the other, in place; which is nearest is decided before the first moves."""
    index = nearest(mean, centre, metric)
    centre = centre.clone()
    for j, k in enumerate(index.tolist()):
        centre[k] = (1 - momentum) * centre[k] + momentum * mean[j]
    return centre


def losses(projector, discriminator, features, centre, metric, alpha):
    """Centre loss and the discriminator's two cross-entropies, as a sum."""
    u = projector(features)
    c = centre[nearest(u, centre, metric)]
    distances = [(u[i] - c[i]).norm() for i in range(len(u))]
    radius = torch.stack(distances).mean()
    rays = torch.stack([(u[i] - c[i]) / distances[i] for i in range(len(u))])
    z = u + (alpha * radius * rays).detach()
    scores = torch.sigmoid(discriminator(torch.cat([u, z])))[:, 0]
    truth = torch.cat([torch.zeros(len(u)), torch.ones(len(u))])
    return (
        radius,
        F.binary_cross_entropy(scores[: len(u)], truth[: len(u)]),
        F.binary_cross_entropy(scores[len(u) :], truth[len(u) :]),
    )


def score_map(patches, size, smoothing=4.0):
    """(B, S, S): bilinear to full size, then a Gaussian image by image."""
    large = F.interpolate(patches[:, None], size=(size, size), mode="bilinear", align_corners=False)[:, 0]
    return np.stack([gaussian_filter(one, sigma=smoothing) for one in large.numpy()])


class WholeBackbone(nn.Module):
    """A torchvision network that runs to its last layer, with hooks on the levels that are wanted."""

    def __init__(self, name, levels):
        super().__init__()
        import torchvision

        self.network = getattr(torchvision.models, name)(weights=None).eval().requires_grad_(False)
        self.kept = {}
        for level in levels:
            getattr(self.network, f"layer{level}").register_forward_hook(
                lambda _, __, output, level=level: self.kept.update({level: output})
            )
        self.levels = levels

    def forward(self, images):
        """The levels' maps."""
        self.network(images)
        return [self.kept[level] for level in self.levels]
