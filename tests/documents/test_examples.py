"""The examples, run as a newcomer runs them."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.support.commands import environment, synthgen
from tests.support.paths import ROOT

EXAMPLES = ROOT / "examples"
BIN = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])


def example(name, *arguments):
    """What an example prints."""
    command = [sys.executable, str(EXAMPLES / name), *map(str, arguments)]
    there = environment(PATH=BIN)
    done = subprocess.run(command, env=there, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    out = tmp_path_factory.mktemp("built") / "set"
    done = synthgen("build", "--dataset", "demo", "--categories", "gear", "--types", "spot,scratch", "--size", 96,
                    "--strength", "strong", "--out", out, "-j", 1)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return out


def test_h5py_alone_reads_shards(built):
    assert example("01_read_with_h5py.py", built).splitlines()[-1] == "180 samples"


def test_a_loop_of_ones_own_runs(built):
    assert "loss" in example("02_segmentation_in_pytorch.py", built, "--steps", 2)


@pytest.mark.slow
def test_a_loop_of_ones_own_learns(built):
    first, last = re.search(
        r"loss ([\d.]+) -> ([\d.]+)", example("02_segmentation_in_pytorch.py", built, "--steps", 40)
    ).groups()
    assert float(last) < 0.9 * float(first)


@pytest.mark.slow
@pytest.mark.skipif(find_spec("anomalib") is None, reason="anomalib is not installed")
def test_anomalib_trains_on_the_export(built):
    told = example("03_anomalib.py", built)
    assert "{'train': 18, 'test': 84}" in told
    assert float(re.search(r"'image_AUROC': ([\d.]+)", told)[1]) > 0.5


def test_pycocotools_reads_the_export(built):
    images, instances, pixels = re.search(
        r"(\d+) images, (\d+) instances, (\d+) anomalous", example("04_coco.py", built)
    ).groups()
    assert int(images) == 24 + 144
    assert int(instances) >= 144
    assert int(pixels) > 500
