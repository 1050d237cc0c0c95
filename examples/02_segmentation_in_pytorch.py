"""A training loop of one's own: a small U-Net learns to mark anomalies from shards.

    python examples/02_segmentation_in_pytorch.py [SET] [--steps 150]

Without SET, one is built from the demo set. The samples of a normal image all go to the same side of the split.
"""

import argparse
import subprocess
import tempfile
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, Subset

from synthgen.export.selection import choose
from synthgen.shards import ShardDataset, collate


def block(channels, out):
    """Two convolutions."""
    layers = [nn.Conv2d(channels, out, 3, padding=1), nn.BatchNorm2d(out), nn.ReLU()]
    return nn.Sequential(*layers, nn.Conv2d(out, out, 3, padding=1), nn.BatchNorm2d(out), nn.ReLU())


def overlap_loss(logits, masks):
    """1 minus the soft Dice overlap, which does not mind that a mask is a hundredth of an image."""
    found = logits.sigmoid()
    return 1 - (2 * (found * masks).sum() + 1) / (found.sum() + masks.sum() + 1)


class SmallUNet(nn.Module):
    """Three levels, a tenth of a million parameters."""

    def __init__(self, width=16):
        super().__init__()
        self.down = nn.ModuleList([block(3, width), block(width, 2 * width), block(2 * width, 4 * width)])
        self.up = nn.ModuleList([block(6 * width, 2 * width), block(3 * width, width)])
        self.head = nn.Conv2d(width, 1, 1)

    def forward(self, x):
        """(B, 1, H, W) logits of (B, 3, H, W)."""
        kept = []
        for number, down in enumerate(self.down):
            x = down(functional.max_pool2d(x, 2) if number else x)
            kept.append(x)
        for up, skip in zip(self.up, kept[-2::-1], strict=True):
            x = up(torch.cat([functional.interpolate(x, size=skip.shape[-2:]), skip], 1))
        return self.head(x)


def tensors(batch):
    """Images 0..1 and masks of a batch of `collate`."""
    images = torch.as_tensor(batch["image"]).permute(0, 3, 1, 2).float() / 255
    return images, torch.as_tensor(batch["mask"])[:, None].float()


def train(folder, steps=150, batch=8, seed=0):
    """The mean loss of the first and last ten steps, and the held-out overlap (IoU) at the end."""
    torch.manual_seed(seed)
    dataset = ShardDataset(folder)
    parts = choose(Path(folder), shares=(0.8, 0.2)).parts
    loaders = [
        DataLoader(Subset(dataset, part.samples), batch, shuffle=learned, collate_fn=collate, drop_last=learned)
        for part, learned in zip(parts, (True, False), strict=True)
    ]
    network = SmallUNet()
    optimizer = torch.optim.AdamW(network.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=steps)
    losses = []
    while len(losses) < steps:
        for batch_ in loaders[0]:
            images, masks = tensors(batch_)
            logits = network(images)
            loss = functional.binary_cross_entropy_with_logits(logits, masks) + overlap_loss(logits, masks)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
            if len(losses) % 10 == 0:
                print(f"step {len(losses)}: loss {sum(losses[-10:]) / 10:.3f}")
            if len(losses) == steps:
                break
    network.eval()
    both = either = 0
    with torch.no_grad():
        for batch_ in loaders[1]:
            images, masks = tensors(batch_)
            found = network(images) > 0
            both += (found & (masks > 0)).sum().item()
            either += (found | (masks > 0)).sum().item()
    return sum(losses[:10]) / 10, sum(losses[-10:]) / 10, both / max(either, 1)


def main():
    """Train on the given set, or on one that is built."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", nargs="?")
    parser.add_argument("--steps", type=int, default=150)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = options.folder or Path(place) / "set"
        if options.folder is None:
            what = [
                "--dataset",
                "demo",
                "--categories",
                "gear",
                "--types",
                "spot,scratch,stain",
                "--per-image",
                "2",
                "--size",
                "96",
            ]
            subprocess.run(["synthgen", "build", *what, "--strength", "strong", "--out", folder], check=True)
        first, last, overlap = train(folder, options.steps)
    print(f"loss {first:.3f} -> {last:.3f}, held-out IoU {overlap:.3f}")


if __name__ == "__main__":
    main()
