"""Edge edits on one CPU thread: edge maps, regions, generators, whole samples; and how true masks of removed parts are.

    python -m tools.bench edges [--weights table5_pidinet.pth ...] [--edge-generator RUN] [--rounds 5]
    python -m tools.bench edges --sections truth --edge-generator RUN [--size 128] [--trays 10]

CPU milliseconds, medians of variants that take turns. `tools/gpu_check.py` measures the generator on a GPU.

maps      edge maps and regions of the demo set's trays at 256 px
networks  pictures of untrained generators and steps of their training, channels last and bf16 beside the plain way
samples   a whole sample of each mode, from the draw to image and mask, with edges and regions in memory; wants a generator that
          was trained on the trays
truth     every region of a tray that is one part is removed by itself, and the mask of the sample compared with the pixels of
          the part, which the tray's scene knows; wants a generator as well
"""

import argparse
import os
from pathlib import Path

from tools.bench.support.records import Outcome

os.environ.setdefault("OMP_NUM_THREADS", "1")

SECTIONS = ("maps", "networks", "samples", "truth")


def add_options(parser: argparse.ArgumentParser) -> None:
    """What can be said."""
    parser.add_argument("--sections", type=lambda text: text.split(","), help="comma-separated, of: " + ", ".join(SECTIONS))
    parser.add_argument("--weights", type=Path, nargs="*", default=[], help="PiDiNet's checkpoints to measure")
    parser.add_argument("--edge-generator", type=Path, help="trained on the demo set's tray")
    parser.add_argument("--generator-weights", type=Path, help="PiDiNet's, if the generator learned from them")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", type=int, default=128, help="truth: side in pixels")
    parser.add_argument("--trays", type=int, default=10, help="truth: images")


def run(options: argparse.Namespace) -> Outcome:
    """A table for each section."""
    sections = options.sections or (SECTIONS if options.edge_generator else SECTIONS[:2])
    if unknown := sorted(set(sections) - set(SECTIONS)):
        return Outcome({}, [f"--sections: {', '.join(unknown)} is none of {', '.join(SECTIONS)}"])
    if not options.edge_generator and {"samples", "truth"} & set(sections):
        return Outcome({}, ["--sections samples,truth: say by --edge-generator which generator is to draw"])
    import torch

    from tools.bench.support import edge_speed, trays
    from tools.bench.support.timing import one_thread

    torch.set_num_threads(1)
    generator, weights = options.edge_generator, options.generator_weights
    jobs = {
        "maps": lambda: edge_speed.maps(options.weights, options.rounds),
        "networks": lambda: edge_speed.networks(options.rounds),
        "samples": lambda: edge_speed.samples(generator, weights, options.rounds),
        "truth": lambda: trays.truth(generator, weights, size=options.size, count=options.trays),
    }
    with one_thread():
        return Outcome({name: jobs[name]() for name in sections})
