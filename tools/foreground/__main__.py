"""Trains the network that finds the foreground, and writes it as ONNX.

    python -m tools.foreground OUT [--steps 5500] [--scenes 32]

Every step sees new scenes, which one process renders; no image is read. On two cores it takes half an hour. OUT is what
synthgen/foreground/network.onnx is; whoever changes that file raises `VERSION` in synthgen/foreground/network.py.
"""

import argparse
import multiprocessing
import warnings
from collections.abc import Generator
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from synthgen.foreground.network import SIDE, seen
from tools.foreground.network import ForegroundNet
from tools.foreground.products import Field, scene

_RATE = 3e-3
_AHEAD = 24

Batch = tuple[NDArray[np.uint8], Field]


def _render(queue: "multiprocessing.Queue[Batch]", count: int) -> None:
    """Fill the queue with batches of new scenes, for ever."""
    cv2.setNumThreads(1)
    first = 0
    while True:
        made = [scene(first + k) for k in range(count)]
        first += count
        queue.put((np.stack([pixels for pixels, _ in made]), np.stack([mask for _, mask in made])))


def batches(count: int) -> Generator[tuple[Tensor, Tensor], None, None]:
    """(B, 3, 128, 128) float32 as the network sees it, and (B, 1, 128, 128) shares of foreground; turned and mirrored."""
    context = multiprocessing.get_context("spawn")  # threads of OpenCV do not outlive a fork
    queue: multiprocessing.Queue[Batch] = context.Queue(_AHEAD)
    renderer = context.Process(target=_render, args=(queue, count), daemon=True)
    renderer.start()
    rng = np.random.default_rng(0)
    try:
        while True:
            images, masks = queue.get()
            inputs = []
            for k in range(count):
                turns, mirrored = int(rng.integers(4)), 1 if rng.random() < 0.5 else -1
                inputs.append(seen(np.ascontiguousarray(np.rot90(images[k], turns)[:, ::mirrored])))
                masks[k] = np.rot90(masks[k], turns)[:, ::mirrored]
            yield torch.from_numpy(np.stack(inputs)).permute(0, 3, 1, 2), torch.from_numpy(masks.copy())[:, None]
    finally:
        renderer.kill()


def loss_of(logits: Tensor, masks: Tensor) -> Tensor:
    """Cross entropy, and one less the soft intersection over union, so that small objects count as much as large ones."""
    likely = logits.sigmoid()
    common = (likely * masks).sum((1, 2, 3))
    union = (likely + masks - likely * masks).sum((1, 2, 3))
    return functional.binary_cross_entropy_with_logits(logits, masks) + (1 - (common + 1) / (union + 1)).mean()


def train(steps: int, count: int) -> ForegroundNet:
    """A trained network."""
    torch.manual_seed(0)
    network = ForegroundNet().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(network.parameters(), _RATE, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, total_steps=steps, pct_start=0.05)
    recent: list[float] = []
    scenes = batches(count)
    for step in range(1, steps + 1):
        inputs, masks = next(scenes)
        with torch.autocast("cpu", torch.bfloat16):
            logits = network(inputs)
        loss = loss_of(logits.float(), masks)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        recent = [*recent[-99:], float(loss.detach())]
        if step % 100 == 0:
            print(f"step {step}: loss {np.mean(recent):.3f}", flush=True)
    scenes.close()
    return network.to(memory_format=torch.contiguous_format).eval()  # type: ignore[call-overload]


def write_onnx(network: nn.Module, path: Path) -> None:
    """Write the network as OpenCV reads it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about its own internals
        program = torch.onnx.export(network.eval(), (torch.zeros(1, 3, SIDE, SIDE),), dynamo=True, verbose=False)
    if program is None:
        raise RuntimeError("this PyTorch cannot export: use the version in constraints.txt")
    program.save(str(path))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=5500)
    parser.add_argument("--scenes", type=int, default=32, help="in each step")
    options = parser.parse_args()
    write_onnx(train(options.steps, options.scenes), options.out)


if __name__ == "__main__":
    main()
