"""How fast the detectors learn and score, per image: PBAS against its authors' way, BiSQAD's outer loop, LogicAL.

    python -m tools.bench detectors pbas [--backbone wide_resnet50_2] [--size 288]
    python -m tools.bench detectors bisqad [--preset lite] [--images 64]
    python -m tools.bench detectors logical [--preset small] [--size 256]

CPU time of one thread; with `--device cuda` wall-clock time. Weights are random: they change no time.

pbas      The reference path is what the authors' code does: a backbone that runs to its last layer, neighbourhoods written
          out and averaged twice, everything again in every epoch, and a Gaussian image by image. Ours embeds once. Decoding is
          left out on both sides.
bisqad    A step, an epoch, and the outer loop, whose time is to be at most 40 % of that of five epochs.
logical   Scoring uses the localizer alone; PiDiNet's edges and just noticeable differences are its targets while it learns.
          Beside it: PBAS with a ResNet-18 at the same size, PiDiNet, and the JND map. On a GPU in fp32 and bf16.
"""

import argparse
import importlib

from tools.bench.support.records import Outcome


def add_options(parser: argparse.ArgumentParser) -> None:
    """What can be said: the detector, and its options."""
    names = parser.add_subparsers(dest="detector", required=True, metavar="{pbas,bisqad,logical}")
    pbas, bisqad, logical = (names.add_parser(name) for name in ("pbas", "bisqad", "logical"))
    for part in (pbas, bisqad, logical):
        part.add_argument("--device", default="cpu")
        part.add_argument("--size", type=int, default=256 if part is pbas else 128)
    for part in (pbas, bisqad):
        part.add_argument("--backbone", default="resnet18")
        part.add_argument("--precision", default="fp32")
    pbas.add_argument("--batch", type=int, default=8)
    pbas.add_argument("--rounds", type=int, default=5)
    bisqad.add_argument("--preset", default="lite")
    bisqad.add_argument("--images", type=int, default=64)
    logical.add_argument("--preset", default="cpu")
    logical.add_argument("--batch", type=int, default=4)


def run(options: argparse.Namespace) -> Outcome:
    """One table."""
    measure = importlib.import_module(f"tools.bench.support.{options.detector}").measure
    return Outcome({options.detector: measure(options)})
