"""The audit of realism: windows, its two figures against independent ones, and the command on rendered defects."""

import json

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from scipy.stats import kstest  # noqa: E402

from detectors.data.backbones import load_backbone  # noqa: E402
from synthgen.decisions import decide  # noqa: E402
from synthgen.plan import make_plan  # noqa: E402
from synthgen.recipe import make_recipe  # noqa: E402
from synthgen.shards import ShardDataset  # noqa: E402
from synthgen.synthesis import SynthesisDataset  # noqa: E402
from tools.bench.__main__ import main  # noqa: E402
from tools.bench.support import distances, patches  # noqa: E402
from tools.bench.support.samples import write_shard  # noqa: E402

SIZE = (160, 200)
IMAGES = 18


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    """As the command asks for; the other tests get theirs back."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def blob(y, x, height, width, size=SIZE):
    mask = np.zeros(size, np.uint8)
    mask[y : y + height, x : x + width] = 1
    return mask


@pytest.mark.parametrize(
    ("box", "side"),
    [((60, 80, 5, 9), 30), ((60, 80, 40, 30), 64), ((0, 190, 50, 10), 80), ((2, 3, 158, 4), 100), ((80, 0, 3, 200), 100)],
)
def test_the_window_lies_around_the_defect_and_inside_the_image(box, side):
    """The least side is 48 / 256, the largest 160 / 256, of the shorter side of the image."""
    mask = blob(*box)
    mask[150, 100] = 1  # smaller parts do not count
    top, left, got = patches.window_of(mask)
    assert got == side
    assert 0 <= top <= SIZE[0] - side
    assert 0 <= left <= SIZE[1] - side
    inside = blob(*box)[top : top + side, left : left + side].sum()
    assert inside == min(box[2], side) * min(box[3], side)


def test_surroundings_show_nothing_of_the_defect():
    rng = np.random.default_rng(0)
    smaller = 0
    for _ in range(40):
        mask = np.zeros(SIZE, np.uint8)
        ends = [tuple(int(v) for v in rng.integers(0, SIZE[::-1])) for _ in range(2)]
        cv2.line(mask, *ends, 1, int(rng.integers(1, 9)))
        window = patches.window_of(mask)
        beside = patches.window_beside(mask, window)
        if beside is None:
            continue
        top, left, side = beside
        assert side <= window[2]
        smaller += side < window[2]
        assert 0 <= top <= SIZE[0] - side
        assert 0 <= left <= SIZE[1] - side
        near = mask[max(top - 5, 0) : top + side + 5, max(left - 5, 0) : left + side + 5]
        assert not near.any()
    assert smaller
    assert patches.window_beside(np.ones(SIZE, np.uint8), (0, 0, 40)) is None


def test_masks_of_one_object_are_recognised():
    masks = [blob(20, 20, 30, 40), blob(100, 120, 30, 40), blob(24, 23, 30, 40), blob(30, 30, 30, 40), blob(100, 20, 9, 9)]
    groups = patches.same_objects(masks)
    assert groups[0] == groups[2] == groups[3]
    assert len(set(groups)) == 3


def texture(seed, size=(128, 128)):
    rng = np.random.default_rng(seed)
    gray = 128 + 20 * cv2.GaussianBlur(rng.standard_normal(size), (0, 0), 2)
    return np.clip(gray, 0, 255).astype(np.uint8)[..., None].repeat(3, 2)


def random_backbone():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return load_backbone("resnet18", patches.LEVELS, "random")


def test_the_most_unusual_place_is_found():
    locator = patches.Locator(random_backbone(), [texture(k) for k in range(4)], 0)
    for seed, (y, x) in enumerate([(40, 90), (90, 40), (64, 64)]):
        image = texture(100 + seed)
        image[y - 8 : y + 8, x - 8 : x + 8] = [[230], [20]] * 8
        image[0] = 255  # in the margin
        unusual = locator.distances(image)
        place = patches.farthest(unusual, (128, 128))
        assert np.hypot(place[0] - y, place[1] - x) < 14
        elsewhere = blob(20, 20, 3, 3, (128, 128))
        assert np.hypot(*np.subtract(patches.farthest(unusual, (128, 128), elsewhere), 21)) < 8


def test_kid_is_the_mean_over_pairs_of_different_objects():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((7, 5)), rng.standard_normal((6, 5)) + 1
    x_groups, y_groups = list("aabcdee"), list("pqrsst")

    def mean(pairs):
        return np.mean([(float(first @ second) / 5 + 1) ** 3 for first, second in pairs])

    def within(z, groups):
        return mean([(z[i], z[k]) for i in range(len(z)) for k in range(len(z)) if groups[i] != groups[k]])

    expected = within(x, x_groups) + within(y, y_groups) - 2 * mean([(first, second) for first in x for second in y])
    assert distances.kid(x, y, x_groups, y_groups) == pytest.approx(expected)


def alike(rng, count=24, shift=0.0):
    """Features of photographs, three of each object, that are alike; and names of the objects."""
    objects = np.arange(count) // 3
    return rng.standard_normal((8, 20))[objects] + 0.3 * rng.standard_normal((count, 20)) + shift, objects


def test_the_figures_of_what_is_alike_and_of_what_is_not():
    """Photographs of the same objects are no evidence: without objects, the folds would tell them by heart."""
    rng = np.random.default_rng(0)
    same, other = [], []
    for _ in range(30):
        (x, of_x), (y, of_y), (z, of_z) = alike(rng), alike(rng), alike(rng, shift=1.0)
        names = [[f"{letter}{number}" for number in groups] for letter, groups in (("x", of_x), ("y", of_y), ("z", of_z))]
        same.append((distances.kid(x, y, *names[:2]), distances.told_apart(x, y, *names[:2], rng)))
        other.append((distances.kid(x, z, names[0], names[2]), distances.told_apart(x, z, names[0], names[2], rng)))
    kid, auroc = np.transpose(same)
    assert abs(kid.mean()) < 3 * kid.std() / np.sqrt(len(kid))
    assert 0.4 < auroc.mean() < 0.53
    assert kid.mean() + 2 * kid.std() < np.mean(other, 0)[0]
    assert np.mean(other, 0)[1] > 0.9


def test_folds_and_halves_share_no_object():
    rng = np.random.default_rng(0)
    groups = [f"object {k}" for k in np.r_[np.zeros(13, int), rng.integers(1, 12, 40)]]
    drawn, half = distances.sizes(groups)
    for _ in range(20):
        first, second = distances.halves(groups, rng)
        assert min(len(first), len(second)) >= half
        assert not {groups[i] for i in first} & {groups[i] for i in second}
        names = [groups[i] for i in first + second]
        assert max(names.count(name) for name in names) == distances.PER_OBJECT
        assert drawn == int(0.8 * len(names))
        folds = distances.folds_of(names, rng)
        assert len({(name, fold) for name, fold in zip(names, folds, strict=True)}) == len(set(names))
        assert np.bincount(folds, minlength=distances.FOLDS).min() > 0


def test_windows_are_matched_by_side_then_by_place():
    rng = np.random.default_rng(0)
    sides = rng.permutation([30] * 20 + [60] * 20 + [100] * 20)
    offered = [(int(rng.integers(0, 160 - side + 1)), int(rng.integers(0, 200 - side + 1)), int(side)) for side in sides]
    asked = [*[window for window in offered if window[2] != 60][:15], (0, 0, 60), (100, 140, 60)]
    chosen, side, place = distances.matched(asked, offered, SIZE, rng)
    assert len(set(chosen)) == len(asked)
    assert [offered[i][2] for i in chosen] == [window[2] for window in asked]
    assert side == 0
    assert place < 0.1  # all but two are among what is offered
    assert distances.matched([(0, 0, 30)], [(0, 0, 60)], SIZE, rng)[1] == pytest.approx(1.0)
    first = [distances.matched([(0, 0, 30)], [(0, 0, 30)] * 2, SIZE, rng)[0][0] for _ in range(200)]
    assert kstest(first, [0, 1] * 100).pvalue > 0.01


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    """Two sets of shards; and a category whose defects are one generator's, as another seed draws them."""
    folder = tmp_path_factory.mktemp("realism")
    common = {"datasets": {"demo": {"categories": ["gravel"]}}, "size": 96, "strength": "strong", "max_rejected": 1}
    for name, (type_name, seed) in {"same": ("crack", 0), "other": ("stain", 0), "real": ("crack", 1)}.items():
        recipe = make_recipe({**common, "types": {type_name: {"per_image": 1}}, "seed": seed})
        (folder / name).mkdir()
        samples = SynthesisDataset(make_plan(decide(recipe, {})))[:IMAGES]
        write_shard(folder / name / "gravel.h5", [sample for sample in samples if not sample.rejected])
    for number, sample in enumerate(ShardDataset(folder / "real")):
        pictures = {"test/split": sample.image, "ground_truth/split": 255 * sample.mask, "train/good": sample.normal}
        for place, pixels in pictures.items():
            path = folder / "category" / place / f"{number:03d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), pixels[..., ::-1] if pixels.ndim == 3 else pixels)
    return folder


def audit(rendered, *more, types="split=crack+stain", into="records"):
    """The command: its exit status, and its rows by name."""
    words = ["realism", "--into", rendered / into, "--real", rendered / "category", "--types", types]
    words += ["--set", f"same={rendered / 'same'}", "--set", f"other={rendered / 'other'}", "--weights", "random"]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        status = main([str(word) for word in (*words, "--repeats", 4, *more)])
    records = sorted((rendered / into).glob("*.json")) if status == 0 else []
    rows = json.loads(records[-1].read_text())["figures"]["realism"]["rows"] if records else []
    return status, {name: {"kid": kid, "auroc": auroc} for _, name, _, kid, auroc, _, _ in rows}


def test_the_generator_that_made_the_real_ones_is_nearest(rendered, tmp_path):
    status, rows = audit(rendered, "--sheet", tmp_path / "sheet.png")
    assert status == 0
    assert {"normal", "same", "other"} <= rows.keys()
    assert abs(rows["same"]["kid"][0]) < rows["other"]["kid"][0]
    assert rows["same"]["auroc"][0] < rows["other"]["auroc"][0]
    for row in rows.values():
        assert np.mean(row["kid"][2:]) == pytest.approx(row["kid"][0], abs=1e-4)  # the repetitions stand after the mean
        assert len(row["auroc"]) == 2 + 4
    assert cv2.imread(str(tmp_path / "sheet.png")).shape[0] == 5 * (patches.PATCH + 4)


def test_defects_that_nobody_marked_are_looked_for(rendered, capsys):
    masks = rendered / "category" / "ground_truth"
    masks.rename(rendered / "masks")
    try:
        status, rows = audit(rendered, into="unmarked")
    finally:
        (rendered / "masks").rename(masks)
    assert status == 0
    assert "same" in rows
    assert "same: the most unusual place is on the mask in" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("types", "more", "status", "words"),
    [
        ("splits=crack", (), 2, "Did you mean 'split'"),
        ("split=rust", (), 2, "no set has samples of rust"),
        ("split=crack", ("--normals", "nowhere"), 3, "nowhere: there is no such folder. Say where normal images are"),
        ("split=crack", ("--set", "real=there"), 2, "--set real=there: expected NAME=SHARDS"),
    ],
)
def test_what_cannot_be_meant_is_said(rendered, capsys, types, more, status, words):
    assert audit(rendered, *more, types=types)[0] == status
    assert words in capsys.readouterr().err
