"""The whole of it on the demo set's tray, whose truth is known: a part without edges is gone, and its mask is right."""

import cv2
import numpy as np
import pytest

from synthgen.anomalies.edge_edit import steps
from synthgen.edges.pipeline import EdgeAssets
from tests.support.commands import synthgen
from tools.bench.support.trays import overlap, removals, whole_mask


@pytest.mark.slow
def test_parts_that_are_removed_are_gone_and_their_masks_lie_where_they_were(tmp_path):
    common = ("--dataset", "demo", "--categories", "tray", "--config", "cpu64", "--set", "steps=400", "--device", "cpu")
    done = synthgen("train", "edge-generator", *common, "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    overlaps, inside, outside = [], [], []
    for surface, params, rendered, truth, _ in removals(EdgeAssets(tmp_path / "run"), 64, 6):
        assert not rendered.refused
        overlaps.append(overlap(whole_mask(rendered, 64), truth))
        seen = steps(surface, params)
        inside.append(seen.truth.difference[seen.area > 0].mean())
        outside.append(seen.truth.difference[cv2.dilate(seen.area, np.ones((7, 7), np.uint8)) == 0].mean())
    assert len(overlaps) > 8
    assert np.mean(overlaps) > 0.6
    assert np.mean(inside) > 3 * np.mean(outside)
