"""PBAS's training objective: the centre loss, the synthesis of anomalous features, and the discriminator's loss."""

from dataclasses import dataclass
from typing import Any

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
        index = nearest(projected.detach().to(head.centre.dtype), head.centre, config.metric)
        centres = head.centre[index]
    away = projected - centres
    distance = length(away)
    radius = distance.mean()
    if head.discriminator is None:
        nothing = torch.zeros_like(radius)
        return Losses(radius, nothing, nothing)
    if _shortcut(config, features.device.type) and len(head.discriminator) > 1:
        first, *others = head.discriminator
        steps = (config.alpha * radius / distance).detach()[:, None]
        hidden = _BothThroughFirst.apply(projected, steps, head.centre, index, first.weight, first.bias)  # type: ignore[no-untyped-call]
        logits = torch.nn.Sequential(*others)(hidden)
    else:
        anomalous = synthesise(projected, away, distance, radius, config, generator)
        logits = head.discriminator(torch.cat([projected, anomalous]))
    # one batch, so that batch norm sees both kinds, as in the authors' code
    normal, anomaly = logits[:, 0].float().split(len(projected))
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
        distance: (R,) float, the length of `away`, above 0.
        radius: their mean, L_c.
        config: degree alpha; or deviation, for Gaussian noise instead.
        generator: of the noise.

    Returns:
        (R, E) float.
    """
    if config.synthesis == "noise":
        noise = torch.randn(projected.shape, generator=generator, device=projected.device, dtype=projected.dtype)
        return projected + config.noise * noise
    offset = config.alpha * radius * away / distance[:, None]
    return projected + (offset.detach() if config.detach_synthesis else offset)


def _shortcut(config: PBASConfig, device: str) -> bool:
    """Whether the first layer may be computed for both kinds of features at once."""
    # a compiled graph loses the gradient of the weight (PyTorch 2.11); autocast does not reach into the backward pass
    plain = torch.compiler.is_compiling() or torch.is_autocast_enabled(device)
    return config.synthesis == "ray" and config.detach_synthesis and not plain


def length(vectors: Tensor) -> Tensor:
    """Lengths of (R, E) vectors, at least 1e-12; where a vector is zero, so is the gradient, and not NaN."""
    return vectors.square().sum(1).clamp(min=1e-24).sqrt()


class _BothThroughFirst(torch.autograd.Function):
    """The discriminator's first layer of normal features u, and of anomalous ones z = u + k (u - c), k held constant.

    As W z = W u + k (W u - W c), the anomalous half needs no product of its own but that of the centres, of which there are
    as many as an image has locations, whatever the batch. The backward pass saves as much: a third of a training step.
    """

    @staticmethod
    def forward(features: Tensor, steps: Tensor, centre: Tensor, index: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """(2R, width): the layer of (R, E) features, then of the anomalies; `steps` (R, 1) are k, `index` the rows of c."""
        normal = features @ weight.T
        anomalous = torch.addcmul(normal, normal - (centre @ weight.T)[index], steps)
        return torch.cat([normal, anomalous]).add_(bias)

    @staticmethod
    def setup_context(context: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        """Keep what the backward pass needs: all but the bias."""
        context.save_for_backward(*inputs[:5])

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of features, weight and bias: z's own derivative by u is 1, by W it is u + k (u - c)."""
        features, steps, centre, index, weight = context.saved_tensors
        normal, anomalous = torch.split(gradient, len(features))
        both = normal + anomalous
        stepped = anomalous * steps
        centres = torch.zeros(len(centre), len(weight), dtype=stepped.dtype, device=stepped.device).index_add(0, index, stepped)
        of_weight = (both + stepped).T @ features - centres.T @ centre
        return both @ weight, None, None, None, of_weight, both.sum(0)
