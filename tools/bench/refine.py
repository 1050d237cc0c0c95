"""What refinement costs: each stage for a whole image and for a crop, sparse against dense attention, and a training step.

    python -m tools.bench refine [--rounds 5] [--large]

One thread, CPU time, untrained networks (the weights make no difference to the time). `--large` adds WideResNet-50-2 and a
width of 32, which want a GPU: `python tools/gpu_check.py` measures them there.
"""

import argparse

from tools.bench.support.records import Outcome


def add_options(parser: argparse.ArgumentParser) -> None:
    """What can be said."""
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--large", action="store_true", help="larger networks as well")


def run(options: argparse.Namespace) -> Outcome:
    """One table."""
    from tools.bench.support import refinement

    return Outcome({"refine": refinement.measure(options.rounds, options.large)})
