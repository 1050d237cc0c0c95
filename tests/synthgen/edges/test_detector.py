"""Edge detectors: what their maps show and mean, that they are repeatable, and that they travel to other processes."""

import hashlib
import os
import pickle
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from synthgen.edges.detector import PidinetDetector, SoftDetector, make_detector
from synthgen.errors import InputDataError, IntegrityError, UsageError
from tests.support.surfaces import disc
from tests.synthgen.edges.test_pidinet import random_network, save


@pytest.fixture
def weights(tmp_path):
    return save(random_network(), tmp_path / "weights.pth")


@pytest.fixture(params=["soft", "pidinet"])
def detector(request):
    return make_detector(None if request.param == "soft" else request.getfixturevalue("weights"))


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def step(low, high, side=256):
    """Dark on the left, bright from the middle on."""
    return np.where(np.arange(side)[None, :, None] < side // 2, low, high) * np.ones((side, 1, 3), np.uint8)


def same(one, other):
    return np.array_equal(one.fine, other.fine) and np.array_equal(one.fused, other.fused)


@pytest.mark.parametrize(("low", "high"), [(0, 255), (60, 170), (200, 100), (20, 50)])
@pytest.mark.parametrize("turned", [False, True])
def test_soft_edges_are_black_on_the_step_and_white_elsewhere(low, high, turned):
    image = step(low, high)
    found = SoftDetector().detect([np.ascontiguousarray(image.swapaxes(0, 1)) if turned else image])[0]
    for values, far in ((found.fine, 8), (found.fused, 10)):
        lines = values.T if turned else values
        assert lines[:, 127:129].max() <= 40
        assert lines[:, : 128 - far].min() >= 240
        assert lines[:, 128 + far :].min() >= 240
        assert 3 <= (lines[128] < 128).sum() <= 8
        assert np.ptp(lines, axis=0).max() <= 1


def test_soft_edges_are_thinner_on_smaller_pictures():
    widths = [(SoftDetector().detect([step(60, 170, side)])[0].fine[8] < 128).sum() for side in (256, 128)]
    assert 1.5 * widths[1] <= widths[0]


def test_soft_edges_of_a_hue_alone_and_of_nothing():
    hue = step(0, 1)
    hue = np.where(hue > 0, (60, 160, 60), (160, 90, 130)).astype(np.uint8)
    assert SoftDetector().detect([hue])[0].fine[:, 127:129].max() <= 40
    for value in (0, 128, 255):
        found = SoftDetector().detect([np.full((40, 50, 3), value, np.uint8)])[0]
        assert found.fine.min() == found.fused.min() == 255


def test_soft_edges_grow_with_contrast_where_it_is_small():
    darkest = [SoftDetector().detect([step(100, 100 + height)])[0].fine.min() for height in (0, 3, 6, 12, 24)]
    assert darkest == sorted(darkest, reverse=True)
    assert len(set(darkest)) == 5


def test_soft_edges_close_an_outline_and_leave_its_inside():
    inside = disc(128, 128, 40)
    grain = np.random.default_rng(0).normal(0, 3, (128, 128, 3))
    image = np.clip(np.where(inside[..., None] > 0, 170, 60) + grain, 0, 255).astype(np.uint8)
    for values in (SoftDetector().detect([image])[0].fine, SoftDetector().detect([image])[0].fused):
        count, labels = cv2.connectedComponents((values > 204).astype(np.uint8), connectivity=4)
        assert count == 3  # the line, the ground and the disc
        assert len({0, labels[64, 64], labels[2, 2]}) == 3


def test_soft_edges_take_texture_for_less_than_an_outline():
    texture = noise(256, 256)
    found = SoftDetector().detect([texture, step(40, 200)])
    assert found[0].fused.mean() > 200
    assert found[0].fused.min() > 100
    assert found[1].fused.min() < 10


def test_maps_are_soft_bytes_of_the_images_size(detector):
    sizes = [(8, 8), (9, 40), (33, 20), (8, 8)]
    found = detector.detect([noise(*size, seed=number) for number, size in enumerate(sizes)])
    for edges, size in zip(found, sizes, strict=True):
        assert {(values.shape, values.dtype) for values in (edges.fine, edges.fused)} == {(size, np.dtype(np.uint8))}
    assert detector.detect([]) == []
    assert len(np.unique(detector.detect([noise(96, 96)])[0].fine)) > 5


def test_an_image_has_the_same_edges_in_any_company_and_on_any_number_of_threads(detector):
    images = [noise(40, 40, seed) for seed in range(4)] + [noise(24, 50)]
    alone = [detector.detect([image])[0] for image in images]
    threads, cv_threads = torch.get_num_threads(), cv2.getNumThreads()
    try:
        for number in (1, 2, 3):
            torch.set_num_threads(number)
            cv2.setNumThreads(number)
            together = detector.detect(images[::-1])[::-1]
            assert all(same(*pair) for pair in zip(alone, together, strict=True))
            assert torch.get_num_threads() == number
    finally:
        torch.set_num_threads(threads)
        cv2.setNumThreads(cv_threads)


def test_detectors_travel_without_their_network(detector):
    image = noise(20, 20)
    before = detector.detect([image])[0]
    parcel = pickle.dumps(detector)
    assert len(parcel) < 1000
    copy = pickle.loads(parcel)
    assert same(copy.detect([image])[0], before)
    assert (copy.name, copy.sha256, copy.licence) == (detector.name, detector.sha256, detector.licence)


def test_images_that_are_too_small_are_refused(detector):
    with pytest.raises(InputDataError, match="7 x 30"):
        detector.detect([noise(30, 30), noise(7, 30)])


def test_pidinet_says_which_weights_and_what_they_may_be_used_for(weights):
    detector = make_detector(weights)
    assert (detector.name, detector.sha256) == ("pidinet", hashlib.sha256(weights.read_bytes()).hexdigest())
    assert "research" in detector.licence
    soft = make_detector(None)
    assert (soft.name, soft.sha256, soft.licence) == ("soft", "", "")


def test_pidinets_maps_are_the_networks_in_white(weights):
    image = noise(256, 264)
    found = make_detector(weights).detect([image])[0]
    from synthgen.edges.pidinet import edge_maps, load_pidinet

    maps = edge_maps(load_pidinet(weights), torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255)
    for values, strength in ((found.fine, maps[0]), (found.fused, maps[4])):
        assert np.abs(values - 255 * (1 - strength[0, 0].numpy())).max() < 0.51


def test_small_images_are_enlarged_for_pidinet(weights):
    import cv2

    small = noise(64, 80)
    large = cv2.resize(small, (320, 256), interpolation=cv2.INTER_CUBIC)
    found, wanted = make_detector(weights).detect([small, large])
    assert np.abs(found.fine - cv2.resize(wanted.fine, (80, 64), interpolation=cv2.INTER_AREA).astype(int)).max() <= 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_finds_the_same_edges_but_for_rounding(weights):
    images = [noise(40, 40, seed) for seed in range(4)] + [noise(24, 50)]
    there, here = make_detector(weights, "cuda").detect(images), make_detector(weights).detect(images)
    for one, other in zip(there, here, strict=True):
        assert np.abs(one.fine.astype(int) - other.fine).max() <= 1
        assert np.abs(one.fused.astype(int) - other.fused).max() <= 1


def test_wrong_weights_are_found_when_the_detector_is_made(tmp_path, weights):
    with pytest.raises(InputDataError, match=r"none\.pth"):
        make_detector(tmp_path / "none.pth")
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(IntegrityError, match=r"text\.pth"):
        make_detector(tmp_path / "text.pth")
    with pytest.raises(UsageError, match="cuda:77"):
        make_detector(weights, "cuda:77")


def test_other_weights_in_the_same_place_are_refused_in_the_next_process(weights):
    parcel = pickle.dumps(PidinetDetector(weights))
    save(random_network(seed=1), weights)
    with pytest.raises(IntegrityError, match=r"weights\.pth: changed"):
        pickle.loads(parcel).detect([noise(20, 20)])


def test_soft_edges_need_no_torch():
    code = (
        "import sys, numpy\n"
        "from synthgen.edges.detector import make_detector\n"
        "make_detector(None, 'cpu').detect([numpy.zeros((16, 16, 3), numpy.uint8)])\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_pidinet_without_torch_says_how_to_get_it(weights):
    code = (
        "import sys\n"
        "sys.modules['torch'] = None\n"
        "from pathlib import Path\n"
        "from synthgen.edges.detector import make_detector\n"
        "from synthgen.errors import UsageError\n"
        "try:\n"
        "    make_detector(Path(sys.argv[1]), 'cpu')\n"
        "except UsageError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(weights)], check=True, timeout=60, capture_output=True, text=True)
    assert "pip install -c constraints.txt '.[detectors]'" in done.stdout


@pytest.mark.realdata
def test_real_pictures_have_much_the_same_lines_without_the_network():
    folder = os.environ.get("SYNTHGEN_TEST_DATA")
    if not folder:
        pytest.skip("SYNTHGEN_TEST_DATA is not set")
    images = [
        cv2.cvtColor(cv2.resize(cv2.imread(str(path)), (256, 256), interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2RGB)
        for place in ("mvtec/bottle/train/good", "mvtec_loco/juice_bottle/train/good", "mvtec_samples/metal_nut/test/good")
        for path in sorted((Path(folder) / place).iterdir())[:1]
    ]
    network = make_detector(Path(folder) / "weights/table5_pidinet.pth").detect(images)
    for theirs, ours in zip(network, SoftDetector().detect(images), strict=True):
        assert np.corrcoef(theirs.fine.ravel(), ours.fine.ravel())[0, 1] > 0.85
        assert np.corrcoef(theirs.fused.ravel(), ours.fused.ravel())[0, 1] > 0.6
