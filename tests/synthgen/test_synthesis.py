"""Samples in memory: decided by seed, id and attempt alone; accepted or refused for a reason; the same as those on disk."""

import dataclasses
import itertools
import json
import pickle

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthgen.anomalies.registry import SURFACE_TYPES, TYPES
from synthgen.builder import build
from synthgen.decisions import decide
from synthgen.errors import InputDataError, UsageError
from synthgen.painting.surface import Surface
from synthgen.plan import make_plan
from synthgen.recipe import make_recipe
from synthgen.replay import replay_from_shards, save_pictures
from synthgen.samples import NormalImage, SampleSpec
from synthgen.shards import ShardDataset
from synthgen.synthesis import (
    MAX_ATTEMPTS,
    Job,
    PreparedNormal,
    SynthesisDataset,
    Tally,
    make_sample,
    make_samples,
    refusal,
    replay,
    sample_generator,
)
from tests.support.builders import build_folder, build_mvtec
from tests.support.surfaces import FOREGROUNDS, SURFACES, stable, surface


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return build_mvtec(tmp_path_factory.mktemp("data") / "mvtec", ("bottle", "screw"), 3, (96, 96))


def plan_of(root, types=("crack", "corrosion", "deformation"), datasets=None, **fields):
    fields = {"size": 96, "per_image": 1} | fields
    types = types if isinstance(types, dict) else list(types)
    return make_plan(decide(make_recipe({"datasets": datasets or {"mvtec": {}}, "types": types, **fields}), {"mvtec": root}))


def prepared(this):
    return PreparedNormal(NormalImage("d", "c", "c/0.png", "0" * 64, this.pixels), this, "")


def spec_of(name, sample_id="d/c/0/x/0"):
    return SampleSpec(
        sample_id=sample_id,
        dataset="d",
        category="c",
        source="c/0.png",
        type=name,
        replica=0,
        size=(64, 64),
        generator=SURFACE_TYPES[name].generator,
    )


def equal(one, other):
    """All fields, whatever carried them."""
    return (
        (one.spec, one.box, one.attempt, one.area, one.rejected, one.source_sha256)
        == (other.spec, other.box, other.attempt, other.area, other.rejected, other.source_sha256)
        and (one.contrast, one.visible) == pytest.approx((other.contrast, other.visible), abs=1e-4)
        and json.loads(json.dumps(one.params)) == json.loads(json.dumps(other.params))
        and all(np.array_equal(getattr(one, name), getattr(other, name)) for name in ("image", "mask", "normal"))
    )


def test_seed_id_and_attempt_decide_the_numbers_and_0_is_a_seed_like_any_other():
    keys = list(itertools.product((0, 1, 2**63 - 1), ("a/b/c/crack/0", "a/b/c/crack/1"), (0, 1)))
    draws = {key: tuple(sample_generator(*key).integers(2**63, size=4)) for key in keys}
    assert len(set(draws.values())) == len(keys)
    assert all(tuple(sample_generator(*key).integers(2**63, size=4)) == draw for key, draw in draws.items())
    assert int(sample_generator(0, "visa/candle/0001/crack/0", 0).integers(2**32)) == 2493578158


@pytest.mark.parametrize("name", SURFACE_TYPES)
@stable(25)
@given(
    st.sampled_from(SURFACES),
    st.sampled_from(FOREGROUNDS),
    st.sampled_from((16, 33, 64, 120)),
    st.sampled_from((16, 47, 64, 150)),
    st.sampled_from(("realistic", "paper")),
    st.integers(0, 10**6),
)
def test_any_picture_gives_a_sample_that_is_good_or_says_why_not(name, kind, where, height, width, style, seed):
    this = surface(kind, where, height, width, seed)
    sample = make_sample(spec_of(name), prepared(this), SURFACE_TYPES[name].configure(style), seed)
    assert sample.image.shape == sample.normal.shape == (height, width, 3)
    assert (sample.mask.shape, sample.mask.dtype) == ((height, width), np.uint8)
    assert not sample.rejected.startswith("failed")
    assert 0 <= sample.attempt < MAX_ATTEMPTS
    changed = (sample.image != sample.normal).any(-1)
    if sample.rejected:
        assert sample.rejected in ("too small", "too large", "not visible")
        assert not changed.any()
        assert not sample.mask.any()
        assert (sample.label, sample.box, sample.area, sample.params) == (0, (0, 0, 0, 0), 0, {})
        assert sample.attempt == MAX_ATTEMPTS - 1
        return
    assert sample.label == 1
    y0, x0, y1, x1 = sample.box
    ys, xs = np.nonzero(changed | (sample.mask > 0))
    assert (ys.min(), xs.min(), ys.max() + 1, xs.max() + 1) == (y0, x0, y1, x1)
    assert changed[sample.mask > 0].all()
    change = np.abs(sample.image.astype(int) - sample.normal).max(-1)[sample.mask > 0]
    assert sample.area == sample.mask.sum()
    assert sample.contrast == pytest.approx(change.mean(), abs=1e-3)
    assert sample.visible == pytest.approx((change >= 6).mean(), abs=1e-4)
    assert max(2e-4 * height * width, 12) <= sample.area <= SURFACE_TYPES[name].largest_share * height * width
    assert sample.contrast >= max(5, 2 * this.grain)
    assert sample.visible >= 0.5
    image, mask = replay(prepared(this), dataclasses.replace(sample, params=json.loads(json.dumps(sample.params))))
    assert np.array_equal(image, sample.image)
    assert np.array_equal(mask, sample.mask)


def test_a_sample_depends_on_seed_and_id():
    this = prepared(surface("photo", "disc", 128, 128))
    settings = SURFACE_TYPES["crack"].configure()
    samples = [
        make_sample(spec_of("crack", name), this, settings, seed) for seed, name in ((0, "a"), (0, "a"), (1, "a"), (0, "b"))
    ]
    assert equal(samples[0], samples[1])
    assert not any(np.array_equal(samples[0].image, other.image) for other in samples[2:])


def test_a_refused_draw_is_followed_by_the_next(monkeypatch):
    this, settings = prepared(surface("photo", "disc", 128, 128)), TYPES["crack"].configure()
    drawn = []

    draw = TYPES["corrosion"].draw

    def fails_twice(rng, *args):
        drawn.append(int(rng.integers(2**32)))
        if len(drawn) <= 2:
            raise ZeroDivisionError("an unlucky number")
        return draw(rng, *args)

    kind = dataclasses.replace(TYPES["corrosion"], draw=fails_twice)
    monkeypatch.setitem(TYPES, "corrosion", kind)
    sample = make_sample(spec_of("corrosion", "a"), this, kind.configure(), 5)
    assert sample.attempt == len(drawn) - 1 >= 2
    assert drawn == [int(sample_generator(5, "a", attempt).integers(2**32)) for attempt in range(len(drawn))]
    drawn.clear()
    monkeypatch.setitem(TYPES, "crack", dataclasses.replace(TYPES["crack"], draw=lambda *_: 1 // len(drawn)))
    failed = make_sample(spec_of("crack", "a"), this, settings, 5)
    assert failed.rejected.startswith("failed: ZeroDivisionError")


OF_A_TYPE = (AttributeError("no such thing"), AssertionError("never"), NotImplementedError(), IndexError(3), TypeError())
OF_A_TYPE += (RuntimeError("a shape"), StopIteration(), ZeroDivisionError(), np.linalg.LinAlgError(), cv2.error("resize"))


@pytest.mark.parametrize("error", OF_A_TYPE, ids=repr)
@pytest.mark.parametrize("part", ["draw", "render_one"])
def test_whatever_a_type_raises_is_a_failed_draw(monkeypatch, part, error):
    """Counted apart from refusals, and no sample but its own is lost."""
    broken = dataclasses.replace(TYPES["spot"], **{part: lambda *_: raising(error)})
    monkeypatch.setitem(TYPES, "spot", broken)
    this, tally = prepared(surface("photo", "disc", 128, 128)), Tally()
    jobs = [
        Job(spec_of(name, f"d/c/0/{name}/{k}"), this, TYPES[name].configure()) for k in range(2) for name in ("spot", "crack")
    ]
    samples = make_samples(jobs, 5, tally)
    assert [sample.label for sample in samples] == [0, 1, 0, 1]
    assert samples[0].rejected == f"failed: {type(error).__name__}: {error}"
    assert tally.failed == {"spot": (2 * MAX_ATTEMPTS, f"{type(error).__name__}: {error}".strip())}
    assert "spot" not in tally.refused


def test_a_type_that_fails_on_the_fly_is_told(root, monkeypatch):
    dataset = SynthesisDataset(plan_of(root, types=("spot",)))
    monkeypatch.setitem(TYPES, "spot", dataclasses.replace(TYPES["spot"], draw=lambda *_: raising(ValueError("cursed"))))
    with pytest.warns(RuntimeWarning, match="spot: a draw failed, which is a bug of the type: ValueError: cursed"):
        sample = dataset[0]
    assert sample.rejected == "failed: ValueError: cursed"


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (UsageError("of ours"), UsageError), (MemoryError(), MemoryError), (OSError(5, "no disk"), OSError),
        (ModuleNotFoundError("torch"), ImportError), (RuntimeError("CUDA error: an illegal address"), UsageError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
    ids=repr,
)  # fmt: skip
def test_what_is_wrong_with_the_machine_is_no_failed_draw(monkeypatch, error, told):
    """Or the same recipe would give other samples there."""
    monkeypatch.setitem(TYPES, "spot", dataclasses.replace(TYPES["spot"], draw=lambda *_: raising(error)))
    with pytest.raises(told):
        make_sample(spec_of("spot"), prepared(surface("photo", "disc", 128, 128)), TYPES["spot"].configure(), 5)


def raising(error):
    raise error


def test_draws_are_counted_alike_alone_and_together(monkeypatch):
    spot = TYPES["spot"]

    def draw(rng, *rest):
        if (number := rng.random()) < 0.4:
            raise ValueError(f"{number}")
        return spot.draw(rng, *rest)

    monkeypatch.setitem(TYPES, "spot", dataclasses.replace(spot, draw=draw, smallest_contrast=30.0))
    this = prepared(surface("photo", "disc", 128, 128))
    jobs = [Job(spec_of("spot", f"d/c/0/spot/{k}"), this, spot.configure()) for k in range(30)]
    alone, together, batches = Tally(), Tally(), Tally()
    made = [make_samples([job], 5, alone)[0] for job in jobs]
    make_samples(jobs, 5, together)
    monkeypatch.setitem(TYPES, "spot", dataclasses.replace(TYPES["spot"], render_many=rendering_all_with(spot)))
    make_samples(jobs, 5, batches)
    assert alone == together == batches
    draws = sum(sample.label for sample in made) + alone.refused["spot"].total() + alone.failed["spot"][0]
    assert draws == sum(sample.attempt + 1 for sample in made)
    assert alone.refused["spot"]["not visible"] > 0


def rendering_all_with(kind):
    return lambda surfaces, params: [kind.render_one(*pair) for pair in zip(surfaces, params, strict=True)]


def test_refusals_have_their_limits():
    this = surface("constant", "whole", 256, 256)  # 65536 pixels, no grain, no texture
    box = (0, 0, 100, 100)
    assert refusal(13, 50, 1, box, this, SURFACE_TYPES["crack"]) == "too small"
    assert refusal(14, 50, 1, box, this, SURFACE_TYPES["crack"]) == ""
    assert refusal(13108, 50, 1, box, this, SURFACE_TYPES["crack"]) == "too large"
    assert refusal(13107, 50, 1, box, this, SURFACE_TYPES["crack"]) == ""
    assert refusal(100, 5.9, 1, box, this, SURFACE_TYPES["crack"]) == "not visible"
    assert refusal(100, 50, 0.49, box, this, SURFACE_TYPES["crack"]) == "not visible"
    assert refusal(100, 6, 0.5, box, this, SURFACE_TYPES["crack"]) == ""
    assert refusal(11, 50, 1, (0, 0, 16, 16), surface("constant", "whole", 16, 16), SURFACE_TYPES["crack"]) == "too small"
    assert refusal(100, 50, 1, box, surface("gray noise", "whole", 256, 256), SURFACE_TYPES["crack"]) == "not visible"


def test_a_zone_may_be_fainter_than_what_its_surface_hides_of_a_crack():
    stripes = np.rint(120 + 40 * np.sin(2 * np.pi * np.arange(256) / 12))  # no grain: straight stripes have none
    pixels = np.repeat(np.broadcast_to(stripes, (256, 256))[..., None], 3, 2).astype(np.uint8)
    this, box = Surface(pixels, np.ones((256, 256), np.uint8)), (0, 0, 200, 200)
    texture = this.texture(box)
    assert texture > 7
    assert refusal(2000, 1.1 * texture, 1, box, this, SURFACE_TYPES["crack"]) == "not visible"
    assert refusal(2000, 1.1 * texture, 1, box, this, SURFACE_TYPES["zone"]) == ""
    assert refusal(2000, 0.5 * texture, 1, box, this, SURFACE_TYPES["zone"]) == "not visible"


# the dataset in memory


def test_a_dataset_is_a_sequence_in_the_plans_order(root):
    plan = plan_of(root, per_image=2, samples_per_shard=6)
    dataset = SynthesisDataset(plan)
    assert len(dataset) == len(plan) == 36
    assert [sample.spec for sample in dataset] == list(plan.specs())
    assert equal(dataset[-1], dataset[35])
    assert equal(dataset[np.int64(4)], dataset[4 - 36])
    for wrong in (36, -37):
        with pytest.raises(IndexError):
            dataset[wrong]
    assert sum(not sample.rejected for sample in dataset) >= 30


def test_neither_order_nor_kept_images_nor_a_trip_through_pickle_change_a_sample(root):
    plan = plan_of(root)
    straight = list(SynthesisDataset(plan))
    for keep in (1, 3):
        dataset = SynthesisDataset(plan, keep)
        order = np.random.default_rng(keep).permutation(len(plan))
        assert all(equal(dataset[int(i)], straight[i]) for i in order)
    used = SynthesisDataset(plan)
    _ = used[0]
    data = pickle.dumps(used)
    assert len(data) < 30_000  # no images in it
    assert equal(pickle.loads(data)[5], straight[5])


def test_a_dataset_may_keep_no_image_at_all(root):
    assert SynthesisDataset(plan_of(root), keep=0)[0].spec.replica == 0


def by_id(plan):
    return {sample.spec.sample_id: sample for sample in SynthesisDataset(plan)}


@pytest.mark.parametrize(
    "changes",
    [
        {"types": ("deformation", "corrosion", "crack")},
        {"datasets": {"mvtec": {}}},
        {"per_image": 3},
        {"samples_per_shard": 1},
        {"layout": "dense", "max_rejected": 0.5, "name": "other"},
        {"types": {"corrosion": {"strength": "strong"}, "crack": {"per_image": 2}}},
    ],
    ids=str,
)
def test_what_else_is_made_changes_no_sample(root, changes):
    base = by_id(plan_of(root, ("crack",), {"mvtec": {"categories": ["bottle"]}}))
    other = by_id(plan_of(root, **({"types": ("crack",)} | changes)))
    assert base.keys() <= other.keys()
    assert all(equal(sample, other[name]) for name, sample in base.items())


@pytest.mark.parametrize("changes", [{"seed": 1}, {"strength": "strong"}, {"style": "paper"}], ids=str)
def test_seed_style_and_strength_change_the_samples(root, changes):
    base, other = by_id(plan_of(root, ("crack",))), by_id(plan_of(root, ("crack",), **changes))
    assert base.keys() == other.keys()
    # in small restless pictures a stronger crack may be the same one: its contrast and width are at their bounds already
    same = [np.array_equal(sample.image, other[name].image) for name, sample in base.items()]
    assert sum(same) <= (len(same) // 4 if "strength" in changes else 0)


def test_an_image_that_is_gone_is_named(tmp_path):
    folder = build_folder(tmp_path / "bolts", 2)
    recipe = make_recipe({"datasets": {"folder": {}}, "types": ["crack"], "size": 64, "foreground": "none"})
    dataset = SynthesisDataset(make_plan(decide(recipe, {"folder": folder})))
    (folder / "001.png").unlink()
    assert dataset[0].spec.source == "000.png"
    with pytest.raises(InputDataError, match=r"001\.png"):
        dataset[len(dataset) - 1]


# the same on disk, and made again from there


@pytest.fixture(scope="module")
def built(root, tmp_path_factory):
    plan = plan_of(root, per_image=2, samples_per_shard=6, max_rejected=1)
    return plan, build(plan, tmp_path_factory.mktemp("built") / "set", jobs=1).folder


def test_shards_hold_the_samples_of_the_dataset_in_memory(built):
    plan, folder = built
    stored, made = ShardDataset(folder), SynthesisDataset(plan)
    assert len(stored) == len(made)
    assert all(equal(stored[i], made[i]) for i in range(len(made)))


def test_every_stored_sample_can_be_made_again_from_seed_and_from_parameters(built):
    plan, folder = built
    for name in [spec.sample_id for spec in plan.specs()][::5]:
        again = replay_from_shards(folder, name)
        assert again.from_seed
        assert again.from_params
        assert again.same
        printed = json.loads(json.dumps(again.to_json()))
        assert printed["sample_id"] == name
        assert printed["same_from_seed"] is printed["same_from_params"] is True


def test_a_replay_notices_another_generator(built, monkeypatch):
    _, folder = built
    dataset = ShardDataset(folder)
    name = next(i for i in dataset.ids if "/crack/" in i and not dataset[dataset.index(i)].rejected)
    crack = TYPES["crack"]

    def wider(rng, *args):
        return dataclasses.replace(crack.draw(rng, *args), width=9.0)

    monkeypatch.setitem(TYPES, "crack", dataclasses.replace(crack, draw=wider))
    drawn = replay_from_shards(folder, name)
    assert (drawn.from_seed, drawn.from_params, drawn.same) == (False, True, False)
    rendered = dataclasses.replace(crack, render_one=lambda surface, params: crack.render_one(surface, fainter(params)))
    monkeypatch.setitem(TYPES, "crack", rendered)
    assert not replay_from_shards(folder, name).from_params


def fainter(params):
    return dataclasses.replace(params, opacity=params.opacity / 2)


def test_a_sample_that_is_not_there_is_named(built):
    _, folder = built
    with pytest.raises(InputDataError, match="has no sample"):
        replay_from_shards(folder, "mvtec/bottle/000/crack/99")


def test_own_masks_are_asked_for_and_used(root, tmp_path):
    from tests.support.builders import write
    from tests.support.surfaces import disc

    for category in ("bottle", "screw"):
        for number in range(3):
            write(tmp_path / "masks" / category / f"{number:03}.png", disc(96, 96, 20) * np.uint8(255))
    recipe = make_recipe({"datasets": {"mvtec": {}}, "types": ["corrosion"], "size": 96, "per_image": 1, "max_rejected": 1})
    plan = make_plan(decide(recipe, {"mvtec": root}, foreground_masks=tmp_path / "masks"))
    samples = list(SynthesisDataset(plan))
    assert not any((sample.mask & (1 - disc(96, 96, 20))).any() for sample in samples)
    build(plan, tmp_path / "set", jobs=1)
    name = next(sample.spec.sample_id for sample in samples if not sample.rejected)
    with pytest.raises(UsageError, match="--foreground-masks"):
        replay_from_shards(tmp_path / "set", name)
    assert replay_from_shards(tmp_path / "set", name, foreground_masks=tmp_path / "masks").same


def test_pictures_of_a_sample_are_its_pixels(built, tmp_path):
    import cv2

    _, folder = built
    sample = ShardDataset(folder)[0]
    save_pictures(tmp_path / "new", sample)
    stem = sample.spec.sample_id.replace("/", "-")
    image = cv2.cvtColor(cv2.imread(str(tmp_path / "new" / f"{stem}-image.png")), cv2.COLOR_BGR2RGB)
    assert np.array_equal(image, sample.image)
    mask = cv2.imread(str(tmp_path / "new" / f"{stem}-mask.png"), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(mask, sample.mask * 255)
