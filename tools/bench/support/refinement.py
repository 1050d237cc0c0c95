"""Milliseconds of each stage of refinement, and of its training."""

from dataclasses import replace

import numpy as np
import torch

from synthgen.anomalies.registry import TYPES
from synthgen.datasets.demo import read_rendered
from synthgen.painting.surface import Surface
from synthgen.refine import phase_field
from synthgen.refine.batches import RefinementBatch
from synthgen.refine.blocks import RegionSynergyBlock
from synthgen.refine.config import NPCF, NPCFPP, PRESETS, NpcfConfig
from synthgen.refine.losses import npcf_terms, npcfpp_terms
from synthgen.refine.stages import coarse, fine, make_network
from synthgen.synthesis import sample_generator
from tools.bench.support.tables import Column, Table
from tools.bench.support.timing import Variant, one_thread, take_turns

CROP, WHOLE = 128, 512


def scene(count, side, share=0.02):
    """A batch with a square anomaly of this share of the pixels in each picture."""
    generator = torch.Generator().manual_seed(0)
    normal = torch.rand(count, 3, side, side, generator=generator) * 2 - 1
    mask = torch.zeros(count, 1, side, side)
    half = max(int(side * share**0.5 / 2), 3)
    mask[..., side // 2 - half : side // 2 + half, side // 2 - half : side // 2 + half] = 1
    return RefinementBatch(normal, torch.where(mask > 0, normal * 0.3, normal), mask, torch.ones_like(mask), side / 512)


def pictures(config, side):
    """Draws one picture of a stage."""
    network, batch = make_network(config).eval(), scene(1, side)
    stage = coarse if isinstance(config, NpcfConfig) else lambda n, c, b: fine(n, c, b, b.stage_a)

    def run(_):
        with torch.inference_mode():
            stage(network, config, batch)

    return Variant(run)


def step(config, side):
    """A training step of four windows."""
    network, batch = make_network(config), scene(4, side)
    optimizer = torch.optim.AdamW(network.parameters())

    def run(_):
        optimizer.zero_grad()
        if isinstance(config, NpcfConfig):
            terms = npcf_terms(coarse(network, config, batch)[0], batch, config, None)
        else:
            drawn = fine(network, config, batch, batch.stage_a)[0]
            terms = npcfpp_terms(drawn, (batch.stage_a + 1) / 2, batch, config)
        sum(terms.values()).backward()
        optimizer.step()

    return Variant(run)


def attention(dense, side=256, channels=16):
    """Boundary attention with the boundary in some 5 % of the windows."""
    block, batch = RegionSynergyBlock(channels), scene(1, side, share=0.002)
    features = torch.rand(1, channels, side, side)
    boundary = torch.nn.functional.max_pool2d(batch.mask, 7, 1, 3)

    def run(_):
        with torch.inference_mode():
            block(features, features, boundary, dense)

    return Variant(run)


def samples():
    """Stage A on the demo's gravel, alone and with the phase field."""
    surface = Surface(read_rendered("gravel", "000", (WHOLE, WHOLE))[0], np.ones((WHOLE, WHOLE), np.uint8), "metal")
    kinds = [TYPES[name] for name in ("crack", "corrosion", "deformation")]
    made = []
    for number in range(30):
        kind = kinds[number % 3]
        params = kind.draw(sample_generator(0, f"x/{number}", 0), surface, kind.configure())
        rendered = kind.render_one(surface, params)
        if rendered.mask.any():
            made.append((kind, params, rendered))

    def stage_a(i):
        kind, params, _ = made[i % len(made)]
        kind.render_one(surface, params)

    def refined(i):
        phase_field.refine(surface.pixels, made[i % len(made)][2], 1.0)

    return Variant(stage_a, len(made)), Variant(refined, len(made))


def variants(large):
    """All that is measured, by name."""
    mask, whole = (scene(1, side, 0.1).mask[0, 0].numpy().astype(np.uint8) for side in (CROP, WHOLE))
    rendered, refined = samples()
    parts = {
        "stage A: crack, corrosion, deformation at 512 px, mean of a sample (without decoding)": rendered,
        "phase field of these samples": refined,
        f"phase field, {CROP} px": Variant(lambda _: phase_field.solve(mask, 0.25), 5),
        f"phase field, {WHOLE} px": Variant(lambda _: phase_field.solve(whole, 1.0)),
    }
    small = {"npcF, ResNet-18": PRESETS[NPCF]["cpu"], "npcF++, width 16": PRESETS[NPCFPP]["cpu"]}
    wide = {"npcF, WideResNet-50-2": PRESETS[NPCF]["default"], "npcF++, width 32": PRESETS[NPCFPP]["default"]}
    for name, config in (small | (wide if large else {})).items():
        parts |= {f"{name}, {side} px": pictures(config, side) for side in (CROP, WHOLE)}
    parts |= {f"training step of four windows of {CROP} px: {name}": step(replace(c), CROP) for name, c in small.items()}
    return parts | {
        "boundary attention at 256 px: windows on the boundary": attention(False),
        "boundary attention at 256 px: all windows": attention(True),
    }


def measure(rounds: int, large: bool) -> Table:
    """CPU milliseconds."""
    torch.set_num_threads(1)
    with one_thread():
        taken = take_turns(variants(large), rounds)
    return Table([Column(""), Column("ms", ("{:,.1f}",))], [[name, timing.pair] for name, timing in taken.items()])
