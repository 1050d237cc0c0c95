"""Plans: every sample once, in order, in shards of one category, with ids that nothing else changes."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthgen.decisions import decide
from synthgen.errors import InputDataError
from synthgen.plan import make_plan
from synthgen.recipe import make_recipe
from tests.support.builders import build_folder, build_mvtec, build_visa
from tests.support.surfaces import stable


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    return {"mvtec": build_mvtec(folder / "mvtec", ("bottle", "screw"), 7), "visa": build_visa(folder / "visa")}


def plan_of(roots, types=("crack", "corrosion"), datasets=None, masks=None, **fields):
    types = types if isinstance(types, dict) else list(types)
    recipe = make_recipe({"datasets": datasets or {"mvtec": {}}, "types": types, "size": 32, **fields})
    return make_plan(decide(recipe, roots, foreground_masks=masks))


@stable(30)
@given(
    st.integers(1, 4),
    st.integers(1, 20),
    st.sampled_from([("crack",), ("corrosion", "deformation"), {"crack": {"per_image": 3}, "deformation": {}}]),
    st.sampled_from([{"mvtec": {}}, {"visa": {"per_image": 2}, "mvtec": {}}, {"mvtec": {"categories": ["screw"]}}]),
)
def test_every_sample_is_planned_once_and_in_order(roots, per_image, samples_per_shard, types, datasets):
    plan = plan_of(roots, types, datasets, per_image=per_image, samples_per_shard=samples_per_shard)
    specs = list(plan.specs())
    ids = [spec.sample_id for spec in specs]
    normals = sum(len(category.used) for scan in plan.scans for category in scan.categories)
    assert len(set(ids)) == len(ids) == len(plan) == sum(len(shard) for shard in plan.shards)
    counts = {d: sum(plan.recipe.replicas(d, name) for name in plan.recipe.types) for d in plan.recipe.datasets}
    assert len(plan) == sum(counts[scan.dataset] * len(c.used) for scan in plan.scans for c in scan.categories)
    assert sum(len(shard.sources) for shard in plan.shards) == normals
    for spec in specs:
        _, _, stem, name, replica = spec.sample_id.split("/")
        assert spec.sample_id == f"{spec.dataset}/{spec.category}/{stem}/{spec.type}/{spec.replica}"
        assert (name, int(replica)) == (spec.type, spec.replica)
        assert spec.source.endswith((f"/{stem}.png", f"/{stem}.JPG"))
    assert {spec.size for spec in specs} == {(32, 32)}
    assert {spec.type for spec in specs} == set(plan.recipe.types)


@stable(30)
@given(st.integers(1, 60), st.integers(1, 4))
def test_shards_are_contiguous_of_one_category_and_no_larger_than_asked(roots, samples_per_shard, per_image):
    plan = plan_of(roots, samples_per_shard=samples_per_shard, per_image=per_image)
    assert len({shard.name for shard in plan.shards}) == len(plan.shards)
    by_category = {}
    for shard in plan.shards:
        assert shard.sources
        assert {(source.dataset, source.category) for source in shard.sources} == {(shard.dataset, shard.category)}
        # a normal image and all its samples stay together
        assert len(shard) <= max(samples_per_shard, shard.allotment.per_source)
        by_category.setdefault(shard.category, []).append(shard)
    for (scan,) in (plan.scans,):
        for category in scan.categories:
            shards = by_category[category.name]
            assert tuple(source for shard in shards for source in shard.sources) == category.used
            assert [shard.index for shard in shards] == list(range(len(shards)))
            assert [shard.name for shard in shards] == [
                f"mvtec-{category.name}-{number:05d}-of-{len(shards):05d}.h5" for number in range(len(shards))
            ]


def test_a_shard_holds_no_more_normal_images_than_fit_into_memory(tmp_path):
    root = build_folder(tmp_path / "many", 2)
    for number in range(2, 300):
        (root / f"{number:03}.png").hardlink_to(root / "000.png")
    plan = plan_of({"folder": root}, ("crack",), {"folder": {}}, per_image=1)
    assert [len(shard.sources) for shard in plan.shards] == [60] * 5


def test_ids_do_not_depend_on_what_else_is_made(roots):
    small = {spec.sample_id: spec for spec in plan_of(roots, datasets={"mvtec": {"categories": ["bottle"]}}).specs()}
    large = plan_of(
        roots, ("deformation", "crack", "corrosion"), {"visa": {}, "mvtec": {}}, per_image=5, samples_per_shard=7, seed=3
    )
    known = {spec.sample_id: spec for spec in large.specs()}
    assert small.items() <= known.items()


def test_categories_that_share_a_name_in_two_datasets_are_kept_apart(tmp_path):
    names = ("tubes", "metal_plate")  # two categories of MPDD, in folders of one's own too
    roots = {"mvtec": build_mvtec(tmp_path / "a", names), "mpdd": build_mvtec(tmp_path / "b", names)}
    plan = plan_of(roots, datasets={"mvtec": {}, "mpdd": {}})
    assert len({spec.sample_id for spec in plan.specs()}) == len(plan)
    assert {shard.name.split("-")[0] for shard in plan.shards} == {"mvtec", "mpdd"}


@pytest.mark.parametrize("names", [("Bolt 5 mm", "schön", "a..b"), ("x-y",)])
def test_any_category_gives_plain_file_names(tmp_path, names):
    for name in names:
        build_folder(tmp_path / name, 2)
    plan = plan_of({"folder": tmp_path}, ("crack",), {"folder": {}})
    assert len({shard.name for shard in plan.shards}) == len(names)
    assert all(not set(shard.name) & set(' /\\:*?"<>|') for shard in plan.shards)


@pytest.mark.parametrize("names", [("part 1", "part_1"), ("a-b", "a b")])
def test_categories_with_similar_names_have_files_of_their_own(tmp_path, names):
    for name in names:
        build_folder(tmp_path / name, 2)
    plan = plan_of({"folder": tmp_path}, ("crack",), {"folder": {}})
    assert len({shard.name for shard in plan.shards}) == len(plan.shards) == 2


def test_the_configuration_knows_all_that_decides_the_bytes(roots):
    base = plan_of(roots).config_json
    assert base == plan_of(roots).config_json
    values = json.loads(base)
    assert values["materials"] == {"mvtec/bottle": "plastic", "mvtec/screw": "metal"}
    assert set(values["foreground_methods"]) == set(values["sources_sha256"]) == set(values["materials"])
    changed = [
        plan_of(roots, seed=1), plan_of(roots, size=48), plan_of(roots, strength="strong"), plan_of(roots, ("crack",)),
        plan_of(roots, per_image=2), plan_of(roots, foreground="none"), plan_of(roots, samples_per_shard=5),
        plan_of(roots, datasets={"mvtec": {"material": "wood"}}), plan_of(roots, style="paper"), plan_of(roots, layout="dense"),
    ]  # fmt: skip
    assert len({base, *(plan.config_json for plan in changed)}) == len(changed) + 1
    assert plan_of(roots, max_rejected=1).config_json == base
    assert str(roots["mvtec"]) not in base


def test_the_list_of_images_is_part_of_the_configuration(tmp_path):
    root = build_folder(tmp_path / "bolts", 3)
    before = plan_of({"folder": root}, datasets={"folder": {}}).config_json
    build_folder(root, 4)
    assert plan_of({"folder": root}, datasets={"folder": {}}).config_json != before


def test_the_foreground_method_is_decided_per_category(roots, tmp_path):
    methods = plan_of(roots, datasets={"mvtec": {}}).methods
    assert {key: method.name for key, method in methods.items()} == {
        ("mvtec", "bottle"): "object",
        ("mvtec", "screw"): "object",
    }
    assert {m.name for m in plan_of(roots, foreground="none").methods.values()} == {"none"}
    assert {(m.name, m.folder) for m in plan_of(roots, masks=tmp_path).methods.values()} == {("masks", tmp_path)}


def test_a_root_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputDataError, match="nowhere"):
        plan_of({"mvtec": tmp_path / "nowhere"})
