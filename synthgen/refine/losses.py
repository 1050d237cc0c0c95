"""The losses of npcF (MaPhC2F, equations 9, 10 and 16 to 21) and of npcF++ (equations 11 and 12).

Pictures are (B, 3, H, W), masks (B, 1, H, W). Every term is a mean for each picture and then over the batch, so that neither
large anomalies nor large images weigh more. Where the paper's print is an option, `config` says so.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from synthgen.refine.batches import RefinementBatch
from synthgen.refine.blocks import laplacian
from synthgen.refine.config import NpcfConfig, NpcfppConfig

Features = Callable[[Tensor], Sequence[Tensor]]
"""Features of (B, 3, H, W) pictures in [-1, 1], of which equation 20 compares two."""

_FLAT = 1e-3  # squared difference below which two colours are the same
_STAGE_A_SHARE = 0.7
_AROUND = 2  # pixels


def npcf_terms(u: Tensor, batch: RefinementBatch, config: NpcfConfig, features: Features | None) -> dict[str, Tensor]:
    """The weighted terms of equation 21, by name; their sum is the loss.

    Args:
        u: (B, 3, H, W) float32 in [-1, 1], what the network made.
        batch: what it was made of.
        config: weights and options.
        features: for the perceptual term; None leaves it out.
    """
    x, z, mask = batch.normal, batch.stage_a, batch.mask
    over = mask if config.reduction == "mask" else torch.ones_like(mask)
    outside = 1 - mask if config.reduction == "mask" else over
    terms = {
        "normal": mean_over(((u - x) * (1 - mask)).square(), outside),
        "anomaly": config.anomaly * mean_over(((u - x) * mask).square(), over),
        "colour": config.colour * _colour(u, z, mask, over, config),
        "pde": config.pde * _allen_cahn_loss(u, batch, over, config),
        "tv": config.tv * _total_variation(u, mask, config),
    }
    if features is not None and config.perceptual:
        terms["perceptual"] = config.perceptual * _perceptual(u, x, z, mask, features, config)
    return terms


def npcfpp_terms(u: Tensor, coarse: Tensor, batch: RefinementBatch, config: NpcfppConfig) -> dict[str, Tensor]:
    """The weighted terms of equations 11 and 12, by name; their sum is the loss.

    Args:
        u: (B, 3, H, W) float32 in [0, 1], what the network made.
        coarse: like it, npcF's picture.
        batch: what both were made of, in [-1, 1].
        config: weights and options.
    """
    x, z, mask = (batch.normal + 1) / 2, (batch.stage_a + 1) / 2, batch.mask
    fine = laplacian(u).abs()
    if config.wave_target == "match":
        wave = (mean_of_each(fine, mask) - mean_of_each(laplacian(z).abs(), mask)).abs().mean()
    else:
        wave = mean_over(fine, mask)
    return {
        "normal": mean_over((u - x).abs(), 1 - mask),
        "anomaly": config.beta * mean_over((u - coarse).abs(), mask),
        "pull": config.beta * config.delta * (u - x).square().mean(),
        "wave": config.wave * wave,
    }


def phase(u: Tensor, x: Tensor, z: Tensor) -> Tensor:
    """How much of stage A is in a picture: (B, 1, H, W), -1 where it is the normal image, 1 where it is stage A."""
    way = z - x
    share = ((u - x) * way).sum(1, keepdim=True) / (way.square().sum(1, keepdim=True) + _FLAT)
    return 2 * share.clamp(0, 1) - 1


def allen_cahn(field: Tensor, squares: Tensor | float) -> Tensor:
    """The residual of equation 9: epsilon^2 lap(f) - (f^3 - f), of the field's shape."""
    return squares * laplacian(field) - (field**3 - field)


def mean_of_each(values: Tensor, where: Tensor) -> Tensor:
    """(B,) means over channels and the pixels that `where` weighs; 0 where it weighs none."""
    weights = where.sum((1, 2, 3)).clamp(min=1)
    return (values * where).sum((1, 2, 3)) / (weights * values.shape[1])


def mean_over(values: Tensor, where: Tensor) -> Tensor:
    """The mean of `mean_of_each`."""
    return mean_of_each(values, where).mean()


def _colour(u: Tensor, z: Tensor, mask: Tensor, over: Tensor, config: NpcfConfig) -> Tensor:
    """Equation 19; as printed, stage A is not masked, which adds a constant."""
    reference = z * mask if config.colour_reference == "mask" else z
    where = over if config.colour_reference == "mask" else torch.ones_like(mask)
    return mean_over((u * mask - reference).square(), where)


def _allen_cahn_loss(u: Tensor, batch: RefinementBatch, over: Tensor, config: NpcfConfig) -> Tensor:
    """Equation 10, in single precision."""
    squares = batch.squares if config.epsilon2 == 0 else config.epsilon2
    if config.pde_space == "phase":
        field = phase(u.float(), batch.normal, batch.stage_a)
        residual = allen_cahn(field, squares) - config.fidelity * (field - (2 * batch.mask - 1))
    else:
        residual = allen_cahn(u.float(), squares)
    return mean_over((residual * batch.mask).square(), over)


def _total_variation(u: Tensor, mask: Tensor, config: NpcfConfig) -> Tensor:
    """Equation 18, as a mean."""
    across = functional.pad((u[..., 1:] - u[..., :-1]).abs(), (0, 1))
    down = functional.pad((u[..., 1:, :] - u[..., :-1, :]).abs(), (0, 0, 0, 1))
    around = functional.max_pool2d(mask, 2 * _AROUND + 1, 1, _AROUND)
    return mean_over(across + down, around if config.tv_area == "mask" else torch.ones_like(mask))


def _perceptual(u: Tensor, x: Tensor, z: Tensor, mask: Tensor, features: Features, config: NpcfConfig) -> Tensor:
    """Equation 20, as a mean over the levels."""
    targets = {"mixed": ((z, _STAGE_A_SHARE), (x, 1 - _STAGE_A_SHARE)), "stage-a": ((z, 1.0),), "normal": ((x, 1.0),)}
    blank = config.perc_mask == "pixels"
    made = features(u * mask if blank else u)
    total = u.new_zeros(())
    for target, weight in targets[config.perc_target]:
        with torch.no_grad():
            known = features(target * mask if blank else target)
        for level, target_level in zip(made, known, strict=True):
            where = functional.adaptive_max_pool2d(mask, level.shape[-2:])
            where = torch.ones_like(where) if blank else where
            total = total + weight * mean_over((level.float() - target_level.float()).square(), where) / len(made)
    return total
