"""PBAS's training objective: the centre loss, the synthesis of anomalous features, and the discriminator's loss."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from detectors.pbas.config import PBASConfig
from detectors.pbas.model import Head, nearest


@dataclass(frozen=True, slots=True, eq=False)
class Losses:
    """The terms of one step, each a float scalar; `total` is what is minimised.

    Attributes:
        centre: mean distance of projected features to their nearest centres (ABL, Eq. 6).
        normal: cross-entropy of normal features against 0 (RBO, Eq. 8).
        anomaly: cross-entropy of synthetic features against 1 (RBO, Eq. 9).
    """

    centre: Tensor
    normal: Tensor
    anomaly: Tensor

    @property
    def total(self) -> Tensor:
        """Eq. 10 without the regularisation, which the optimizers do."""
        return self.centre + self.normal + self.anomaly


def losses(head: Head, features: Tensor, config: PBASConfig, generator: torch.Generator | None = None) -> Losses:
    """The losses of a batch of normal features.

    Args:
        head: what is trained.
        features: (R, E) float.
        config: how anomalies are synthesised.
        generator: for `synthesis="noise"`.
    """
    projected = head.projector(features)
    with torch.no_grad():
        centres = head.centre[nearest(projected.detach().to(head.centre.dtype), head.centre, config.metric)]
    away = projected - centres
    distance = safe_norm(away)
    radius = distance.mean()
    if head.discriminator is None:
        nothing = torch.zeros_like(radius)
        return Losses(radius, nothing, nothing)
    anomalous = synthesise(projected, away, distance, radius, config, generator)
    # one batch, so that batch norm sees both kinds, as in the authors' code
    logits = head.discriminator(torch.cat([projected, anomalous]))[:, 0].float()
    normal, anomaly = logits.split(len(projected))
    return Losses(radius, functional.softplus(normal).mean(), functional.softplus(-anomaly).mean())


def synthesise(
    projected: Tensor,
    away: Tensor,
    distance: Tensor,
    radius: Tensor,
    config: PBASConfig,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Anomalous features made of normal ones (AFS, Eq. 7), along the ray from the nearest centre.

    Args:
        projected: (R, E) float normal features u.
        away: (R, E) float, u minus its nearest centre.
        distance: (R,) float, the length of `away`.
        radius: their mean, L_c.
        config: degree alpha; or deviation, for Gaussian noise instead.
        generator: of the noise.

    Returns:
        (R, E) float.
    """
    if config.synthesis == "noise":
        noise = torch.randn(projected.shape, generator=generator, device=projected.device, dtype=projected.dtype)
        return projected + config.noise * noise
    offset = config.alpha * radius * away / distance[:, None].clamp(min=1e-12)
    return projected + (offset.detach() if config.detach_synthesis else offset)


def safe_norm(vectors: Tensor) -> Tensor:
    """Lengths of (R, E) vectors, whose gradient is zero where the vector is, not NaN."""
    zero = (vectors == 0).all(1)
    lengths: Tensor = torch.linalg.vector_norm(torch.where(zero[:, None], torch.ones_like(vectors), vectors), dim=1)
    return lengths * ~zero
