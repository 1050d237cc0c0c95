"""What the two trained stages make of a batch: stage B1, the coarse picture, and stage B2, the fine one."""

import torch
from torch import Tensor

from synthgen.refine.batches import RefinementBatch
from synthgen.refine.blocks import boundary_of
from synthgen.refine.config import NpcfConfig, NpcfppConfig
from synthgen.refine.npcf import FEATHER, GROWN, Npcf, composed, feathered
from synthgen.refine.npcfpp import SynergyRefineNet

_BOUNDARY = 3.0  # pixels of a 512-pixel image

Config = NpcfConfig | NpcfppConfig
Network = Npcf | SynergyRefineNet


def make_network(config: Config) -> Network:
    """An untrained network of these settings."""
    if isinstance(config, NpcfConfig):
        return Npcf(config.backbone, config.takes_stage_a, config.residual)
    return SynergyRefineNet(config.width, config.window, config.pde_sign, config.residual)


def coarse(network: torch.nn.Module, config: NpcfConfig, batch: RefinementBatch) -> tuple[Tensor, Tensor]:
    """NpcF's pictures, (B, 3, H, W) in [-1, 1]: as drawn, and with the normal image's own pixels around the anomaly."""
    soft = feathered(batch.mask, GROWN * batch.scale, FEATHER * batch.scale)
    drawn = network(batch.normal, batch.stage_a, soft)
    return drawn, drawn if config.residual else composed(drawn, batch.normal, soft)


def fine(network: torch.nn.Module, config: NpcfppConfig, batch: RefinementBatch, b1: Tensor) -> tuple[Tensor, Tensor]:
    """npcF++'s pictures from those of npcF (in [-1, 1]), (B, 3, H, W) in [0, 1]: as drawn, and composed as `coarse`'s."""
    boundary = batch.mask
    if config.synergy_at == "boundary":
        boundary = boundary_of(batch.mask, max(round(_BOUNDARY * batch.scale), 1))
    normal = (batch.normal + 1) / 2
    drawn = network(normal, (b1 + 1) / 2, batch.mask, boundary)
    soft = feathered(batch.mask, GROWN * batch.scale, FEATHER * batch.scale)
    return drawn, composed(drawn, normal, soft)
