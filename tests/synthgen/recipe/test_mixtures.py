"""Mixtures of anomaly types: which weights a category gets, and which types its normal images get from them."""

import json
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthgen.anomalies.registry import SURFACE_TYPES
from synthgen.datasets import dataset_info, dataset_names
from synthgen.decisions import decide
from synthgen.errors import UsageError
from synthgen.painting.surface import MATERIALS, Surface
from synthgen.plan import Allotment, make_plan
from synthgen.recipe import make_recipe, recipe_from_resolved
from synthgen.recipe.mixtures import Traits, mixture, traits_of
from synthgen.shards import ShardDataset
from synthgen.synthesis import SynthesisDataset
from tests.support.builders import build_mvtec, write
from tests.support.commands import synthgen

PLAIN = Traits(is_object=False, is_gray=False, glossy=False, restless=False)
SOURCE = SimpleNamespace(dataset="folder", category="a", stem="001")


@given(
    st.builds(Traits, *[st.booleans()] * 4),
    st.sampled_from([None, *MATERIALS]),
    st.dictionaries(st.sampled_from(sorted(SURFACE_TYPES)), st.floats(0.1, 9), min_size=0, max_size=4),
)
def test_weights_add_up_and_leave_no_type_out(traits, material, known):
    weights = mixture(traits, material, known)
    assert list(weights) == list(SURFACE_TYPES)
    assert sum(weights.values()) == pytest.approx(1, abs=1e-3)
    assert min(weights.values()) > 0


def test_what_is_known_of_a_category_counts_most():
    assert mixture(PLAIN, None, {"dent": 1})["dent"] > 0.7
    assert mixture(PLAIN, "metal", None)["corrosion"] > mixture(PLAIN, "stone", None)["corrosion"]


@pytest.mark.parametrize("name", dataset_names())
def test_manifests_name_types_that_exist(name):
    for category in dataset_info(name).categories.values():
        assert category.mixture.keys() <= SURFACE_TYPES.keys()


def test_traits_are_seen_in_the_normal_images():
    rng = np.random.default_rng(0)
    smooth = np.full((128, 128, 3), 120, np.uint8)
    glossy = smooth.copy()
    glossy[40:60, 40:80] = 250
    restless = rng.integers(0, 255, (128, 128, 1), np.uint8).repeat(3, 2)
    coloured = smooth.copy()
    coloured[..., 0] = 180
    whole = np.ones((128, 128), np.uint8)

    def seen(*images):
        return traits_of([Surface(image, whole) for image in images], is_object=True)

    assert seen(smooth) == Traits(is_object=True, is_gray=True, glossy=False, restless=False)
    assert seen(glossy).glossy
    assert seen(restless).restless
    assert not seen(smooth, coloured).is_gray
    assert traits_of([], is_object=False) == PLAIN


def test_a_bright_background_is_no_gloss(tmp_path):
    """Traits are those of the object: the same part on white and on gray gets the same mixture."""
    shares = []
    for name, level in (("white", 255), ("gray", 150)):
        for k in range(6):
            part = np.full((128, 128, 3), level, np.uint8)
            part[30:98, 30 + k : 98 + k] = 60
            write(tmp_path / name / "part" / f"{k}.png", part)
        (shard,) = make_plan(decide(make_recipe({"datasets": {"folder": {}}, "size": 128}), {"folder": tmp_path / name})).shards
        shares.append(shard.allotment.shares)
    assert shares[0] == shares[1]


@given(st.integers(1, 12), st.integers(0, 2**40), st.lists(st.floats(0.01, 5), min_size=1, max_size=6))
def test_an_image_gets_types_evenly_by_weight(drawn, seed, weights):
    total = sum(weights)
    allotment = Allotment(tuple((f"t{k}", weight / total) for k, weight in enumerate(weights)), drawn)
    samples = allotment.of(SOURCE, seed)
    assert [replica for _, replica in samples] == list(range(drawn)) == list(range(allotment.per_source))
    assert samples == allotment.of(SOURCE, seed)
    for k, weight in enumerate(weights):
        got = sum(name == f"t{k}" for name, _ in samples)
        assert abs(got - drawn * weight / total) < 2.5  # steps of the golden ratio are evenly spread


def test_over_many_images_the_weights_are_met():
    allotment = Allotment((("a", 0.7), ("b", 0.2), ("c", 0.1)), 3)
    sources = [SimpleNamespace(dataset="d", category="c", stem=str(k)) for k in range(2000)]
    counts = Counter(name for source in sources for name, _ in allotment.of(source, 0))
    assert counts["a"] / 6000 == pytest.approx(0.7, abs=0.02)
    assert counts["c"] / 6000 == pytest.approx(0.1, abs=0.02)


def test_no_types_and_auto_are_the_same_mixture():
    demo = {"datasets": {"demo": {"categories": ["gear", "brick"]}}, "size": 96}
    recipes = [make_recipe(demo | more) for more in ({}, {"types": "auto"}, {"types": ["auto"]}, {"types": {"auto": None}})]
    assert all(recipe == recipes[0] for recipe in recipes)
    plan = make_plan(decide(recipes[0], {}))
    assert len(plan) == 3 * sum(len(category.used) for category in plan.scans[0].categories)
    ids = [spec.sample_id for spec in plan.specs()]
    assert len(set(ids)) == len(ids) == len(plan)
    assert recipe_from_resolved(recipes[0].resolved()).resolved() == recipes[0].resolved()


def test_a_sample_of_a_mixture_is_the_sample_of_that_id_in_any_build():
    demo = {"datasets": {"demo": {"categories": ["gear"]}}, "size": 96, "share": 0.1}
    mixed = SynthesisDataset(make_plan(decide(make_recipe(demo), {})))
    alone = SynthesisDataset(make_plan(decide(make_recipe(demo | {"types": list(SURFACE_TYPES)}), {})))
    by_id = {sample.spec.sample_id: sample for sample in alone}
    for sample in mixed:
        other = by_id[sample.spec.sample_id]
        assert np.array_equal(sample.image, other.image)
        assert sample.params == other.params


def test_own_weights_and_settings_within_a_mixture():
    demo = {"datasets": {"demo": {"categories": ["gear"]}}}
    only = make_recipe(demo | {"types": {"crack": {"weight": 3}, "spot": {"weight": 1}}, "per_image": 8})
    counts = Counter(spec.type for spec in make_plan(decide(only, {})).specs())
    assert counts.keys() == {"crack", "spot"}
    assert counts["crack"] / counts.total() == pytest.approx(0.75, abs=0.06)
    without = make_recipe(demo | {"types": {"auto": None, "crack": {"weight": 0}, "spot": {"bright_share": 1.0}}})
    assert "crack" not in {spec.type for spec in make_plan(decide(without, {})).specs()}
    assert without.settings("spot").bright_share == 1.0


@pytest.mark.parametrize(
    ("types", "said"),
    [
        ({"crack": {"weight": 1}, "spot": {}}, "either all types have a `weight`"),
        ({"crack": {"weight": 0}}, "nothing would be made"),
        ({"auto": None, "crack": {"per_image": 2}}, "instead of `per_image`"),
        ({"crack": {"weight": -1}}, "greater than or equal to 0"),
    ],
)
def test_mixtures_that_make_no_sense_are_refused(types, said):
    with pytest.raises(UsageError, match=said):
        make_recipe({"datasets": {"demo": {}}, "types": types})


def test_a_mixture_leaves_nothing_out():
    with pytest.raises(UsageError, match="leaves nothing out"):
        make_recipe({"datasets": {"demo": {"leave_out": {"gear/crack": 1}}}, "types": "auto"})


# what a measurement of worth knows


def worth_json(path, category="gear", weights=None, **more):
    weights = {"dent": 3, "spot": 1, "crack": 0} if weights is None else weights
    path.write_text(json.dumps({"format": "synthgen-worth", "category": category, "suggested_weights": weights} | more))
    return path


def test_weights_of_a_recipe_take_the_place_of_the_manifests():
    demo = {"categories": ["gear", "brick"]}

    def shares(**own):
        plan = make_plan(decide(make_recipe({"datasets": {"demo": demo | own}, "size": 96, "share": 0.1}), {}))
        return {shard.category: dict(shard.allotment.shares) for shard in plan.shards}

    plain, known = shares(), shares(mixtures={"gear": {"dent": 3, "spot": 1}})
    assert known["brick"] == plain["brick"]
    assert known["gear"].keys() == SURFACE_TYPES.keys()  # what was never met is learned, too
    assert known["gear"]["dent"] == pytest.approx(0.7 * 0.75, abs=0.05)
    assert known["gear"]["spot"] == pytest.approx(0.7 * 0.25, abs=0.07)


def test_a_recipe_with_weights_is_recorded_and_one_without_is_what_it_was():
    plain = make_recipe({"datasets": {"demo": {}}})
    assert "mixtures" not in plain.resolved()["datasets"]["demo"]
    own = make_recipe({"datasets": {"demo": {"mixtures": {"gear": {"dent": 1}}}}})
    assert recipe_from_resolved(own.resolved()).resolved() == own.resolved() != plain.resolved()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"mixtures": {"gear": {"dnt": 1}}}, "dnt"),
        ({"mixtures": {"gear": {"logical": 1}}}, "no surface type"),
        ({"mixtures": {"gear": {"dent": 0}}}, "no type has a weight above 0"),
        ({"mixtures": {"gear": {}}}, "no type has a weight above 0"),
        ({"mixtures": {"gear": {"dent": -1}}}, "greater than or equal to 0"),
    ],
)
def test_weights_that_make_no_sense_are_refused(values, said):
    with pytest.raises(UsageError, match=said):
        make_recipe({"datasets": {"demo": values}})


def test_weights_are_for_categories_that_are_there_and_for_auto():
    with pytest.raises(UsageError, match=r"no category 'gaer'.*gear"):
        make_plan(decide(make_recipe({"datasets": {"demo": {"mixtures": {"gaer": {"dent": 1}}}}}), {}))
    with pytest.raises(UsageError, match="only `types: auto`"):
        make_recipe({"datasets": {"demo": {"mixtures": {"gear": {"dent": 1}}}}, "types": ["crack"]})


def test_a_build_takes_the_weights_of_a_measurement(tmp_path):
    file = worth_json(tmp_path / "worth.json")
    common = ("--dataset", "demo", "--categories", "gear", "--per-image", 4, "--size", 96)
    plan = synthgen("plan", *common, "--mixture", file, "--json")
    assert plan.returncode == 0, plan.stderr
    built = synthgen("build", *common, "--mixture", file, "--sample", "20%", "--out", tmp_path / "set", "-j", 1)
    assert built.returncode == 0, built.stderr
    types = Counter(str(name) for name in ShardDataset(tmp_path / "set").column("type"))
    assert types["dent"] > 0.4 * types.total()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--mixture", "missing.json"], "missing.json: No such file"),
        (["--mixture", "text.json"], "text.json: no worth.json"),
        (["--mixture", "other.json"], "other.json: no worth.json"),
        (["--mixture", "nothing.json"], "suggests nothing"),
        (["--mixture", "gear.json", "--mixture", "gear.json"], "weights for gear already"),
        (["--mixture", "tile.json"], "no category 'tile'"),
        (["--mixture", "unknown.json"], "--mixture: "),
        (["--mixture", "gear.json", "--types", "crack"], "only `types: auto`"),
    ],
)
def test_a_measurement_that_cannot_be_used_is_an_error_that_says_so(tmp_path, arguments, said):
    (tmp_path / "text.json").write_text("{")
    (tmp_path / "other.json").write_text("[]")
    worth_json(tmp_path / "gear.json")
    worth_json(tmp_path / "nothing.json", weights={})
    worth_json(tmp_path / "tile.json", category="tile")
    worth_json(tmp_path / "unknown.json", weights={"dnt": 1})
    ended = synthgen("plan", "--dataset", "demo", "--categories", "gear", *arguments, cwd=tmp_path)
    assert ended.returncode != 0
    assert said in ended.stderr


def test_what_is_known_from_names_of_test_defects_is_said_and_can_be_left_out(tmp_path):
    root = build_mvtec(tmp_path / "mvtec", categories=("bottle", "of my own"))
    common = ("build", "--dataset", "mvtec", "--root", root, "--per-image", 1, "--size", 48, "--max-rejected", 1, "-j", 1)
    told = synthgen(*common, "--out", tmp_path / "known").stderr
    assert "mixture of bottle: mostly by the published names of the test defects; --mixture surface" in told
    assert "material of of my own: unknown" in told
    alone = synthgen(*common, "--mixture", "surface", "--out", tmp_path / "surface").stderr
    assert "published names" not in alone
    known, surface = (
        json.loads((tmp_path / name / "config.json").read_text())["config"]["mixtures"] for name in ("known", "surface")
    )
    assert known["mvtec/bottle"] != surface["mvtec/bottle"]
    assert known["mvtec/of my own"] == surface["mvtec/of my own"]


def test_the_surface_alone_goes_by_no_weights_of_ones_own():
    with pytest.raises(UsageError, match="`surface` goes by no weights"):
        make_recipe({"datasets": {"demo": {"mixtures": {"gear": {"dent": 1}}}}, "mixture": "surface"})
    assert "mixture" not in make_recipe({"datasets": {"demo": {}}}).resolved()
