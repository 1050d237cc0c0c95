"""The recipe of MaPhC2F makes exactly the paper's counts; recipes to start from, their schema; how two datasets differ."""

import json
import re
import shutil
from collections import Counter
from itertools import pairwise

import pytest
import yaml

from synthgen import decide as deciding
from synthgen.anomalies.registry import ALIASES, SURFACE_TYPES, TYPES
from synthgen.cli.options import PlanRequest
from synthgen.cli.request import plan_from
from synthgen.datasets import CategoryScan, DatasetScan, NormalSource, dataset_names
from synthgen.errors import InputDataError
from synthgen.recipe import DatasetRecipe, Recipe, TypeRecipe, load_recipe, make_recipe, recipe_names
from synthgen.recipe.file import read_recipe_file
from synthgen.recipe.schema import recipe_schema, starter_recipe
from synthgen.report.difference import compare
from tests.support.commands import build_arguments, build_normals, synthgen
from tools import make_standin

# Tables 7 to 9 of the paper's supplement: normal training images, and images per type made of them
NORMALS = {
    "mvtec": {
        "bottle": 209, "cable": 224, "capsule": 219, "carpet": 280, "grid": 264, "hazelnut": 391, "leather": 245,
        "metal_nut": 220, "pill": 267, "screw": 320, "tile": 230, "toothbrush": 60, "transistor": 213, "wood": 247,
        "zipper": 240,
    },
    "visa": {
        "candle": 900, "capsules": 542, "cashew": 450, "chewinggum": 453, "fryum": 450, "macaroni1": 900, "macaroni2": 900,
        "pcb1": 904, "pcb2": 901, "pcb3": 905, "pcb4": 904, "pipe_fryum": 450,
    },
    "btad": {"01": 400, "02": 399, "03": 1000},
}  # fmt: skip
PER_DATASET = {
    ("mvtec", "crack"): 10_887, ("mvtec", "corrosion"): 10_887, ("mvtec", "deformation"): 10_887,
    ("visa", "crack"): 25_977, ("visa", "corrosion"): 25_977, ("visa", "deformation"): 25_977,
    ("btad", "crack"): 1_799, ("btad", "corrosion"): 1_799, ("btad", "deformation"): 1_797,
}  # fmt: skip
PER_TYPE = {"crack": 38_663, "corrosion": 38_663, "deformation": 38_661}
TOTAL = 115_987


@pytest.fixture
def full(monkeypatch):
    """Every dataset has exactly the official normal images, without files."""
    monkeypatch.setattr(deciding, "scan", fake_scan)


def fake_scan(dataset, root=None, categories=None):
    scans = tuple(
        CategoryScan(name, count, tuple(fake_source(dataset, name, number) for number in range(count)), ())
        for name, count in NORMALS[dataset].items()
        if categories is None or name in categories
    )
    return DatasetScan(dataset, None, "listed in a test", "CC0", scans)


def fake_source(dataset, category, number):
    return NormalSource(dataset, category, f"{number:04}", f"{category}/{number:04}.png", None)


def ids_of(**changes):
    return [spec.sample_id for spec in plan_from(PlanRequest(recipe="maphc2f", **changes)).specs()]


def test_counts_are_the_papers(full):
    plan = plan_from(PlanRequest(recipe="maphc2f"))
    specs = list(plan.specs())
    assert len(specs) == len(plan) == TOTAL
    assert len({spec.sample_id for spec in specs}) == TOTAL
    assert Counter((spec.dataset, spec.type) for spec in specs) == PER_DATASET
    assert Counter(spec.type for spec in specs) == PER_TYPE
    assert {spec.size for spec in specs} == {(512, 512)}


def test_counts_of_each_category(full):
    """Three for each normal image and type of MVTec AD and VisA, one of BTAD, whose 03 has 998 deformations."""
    found = Counter((spec.dataset, spec.category, spec.type) for spec in plan_from(PlanRequest(recipe="maphc2f")).specs())
    expected = {
        (dataset, category, name): count * (1 if dataset == "btad" else 3)
        for dataset, categories in NORMALS.items()
        for category, count in categories.items()
        for name in PER_TYPE
    } | {("btad", "03", "deformation"): 998}
    assert found == expected


def test_what_is_left_out_are_the_last_two(full):
    left = {f"btad/03/{number:04}/deformation/0" for number in range(1000)} - set(ids_of(only="btad"))
    assert left == {"btad/03/0998/deformation/0", "btad/03/0999/deformation/0"}


@pytest.mark.parametrize(
    ("changes", "count"),
    [
        ({"only": "btad"}, 5_395),
        ({"only": "mvtec,btad"}, 32_661 + 5_395),
        ({"types": "crack"}, 38_663),
        ({"types": "deformation"}, 38_661),
        ({"types": "tps,corrosion", "only": "btad"}, 1_797 + 1_799),
        ({"samples_per_shard": 100, "only": "btad"}, 5_395),
    ],
)
def test_a_part_has_samples_of_the_whole(full, changes, count):
    part = ids_of(**changes)
    assert len(set(part)) == len(part) == count
    assert set(part) < set(ids_of())


@pytest.mark.parametrize("share", ["1%", "0.1", "99.9%", "1e-9"])
def test_a_share_has_samples_of_the_whole(full, share):
    """That share of each category's normal images, at least one, with all their samples but those left out."""
    part, whole = ids_of(sample=share), set(ids_of())
    assert len(set(part)) == len(part)
    assert set(part) < whole
    wanted = float(share[:-1]) / 100 if share.endswith("%") else float(share)
    normals = {tuple(sample.split("/")[:3]) for sample in part}
    for dataset, categories in NORMALS.items():
        for category, count in categories.items():
            used = sum(normal[:2] == (dataset, category) for normal in normals)
            assert used == max(1, round(wanted * count))
    assert {sample for sample in whole if tuple(sample.split("/")[:3]) in normals} == set(part)


def test_shares_are_nested(full):
    shares = [set(ids_of(sample=share, only="btad")) for share in ("1%", "2%", "50%", "100%")]
    assert all(small < large for small, large in pairwise(shares))
    assert shares[-1] == set(ids_of(only="btad"))


def test_share_of_all_is_the_whole_in_the_same_order(full):
    assert ids_of(sample="100%", only="mvtec") == ids_of(only="mvtec")


def test_missing_images_are_named(monkeypatch):
    """One image less in two categories, and a category that is not there at all: all three are named, with numbers."""
    counts = {"01": 400, "02": 398, "03": 1000}

    def lacking(dataset, root=None, categories=None):
        scans = tuple(
            CategoryScan(name, count, tuple(fake_source(dataset, name, number) for number in range(count)), ())
            for name, count in counts.items()
        )
        return DatasetScan(dataset, None, "listed in a test", "CC0", scans)

    monkeypatch.setattr(deciding, "scan", lacking)
    with pytest.raises(InputDataError) as refused:
        ids_of(only="btad")
    assert str(refused.value).splitlines()[1:] == ["  btad/02: 399 normal images needed, 398 usable"]
    del counts["03"]
    with pytest.raises(InputDataError, match="btad/03: 1000 normal images needed, 0 usable"):
        ids_of(only="btad")
    counts |= {"02": 400, "03": 1001}  # more than are needed do no harm
    assert set(ids_of(only="btad")) > {"btad/02/0399/crack/0", "btad/03/1000/crack/0"}


def test_small_stand_in_is_refused_before_anything_is_made(tmp_path):
    options = make_standin.Options(size=32, share=0.004)
    make_standin.make(tmp_path / "standin", make_standin.COUNTS, options, jobs=1)
    refused = synthgen("build", "--recipe", "maphc2f", "--root", tmp_path / "standin", "--out", tmp_path / "out")
    assert refused.returncode == 3
    for dataset, categories in NORMALS.items():
        for category, count in categories.items():
            usable = make_standin.training_count(dataset, category, options)
            assert f"  {dataset}/{category}: {count} normal images needed, {usable} usable\n" in refused.stderr
    assert not (tmp_path / "out").exists()
    # a share is one of all images, so it needs them all too
    shared = synthgen("plan", "--recipe", "maphc2f", "--root", tmp_path / "standin", "--sample", "1%")
    assert shared.returncode == 3


# recipes to start from


def test_starter_recipe_says_the_defaults(tmp_path):
    """As it is, and with every commented default switched on."""
    text = starter_recipe()
    defaults = make_recipe({"name": "my-set", "datasets": {"folder": {"material": "metal"}}, "types": "auto"})
    for version in (text, switched_on(text)):
        (tmp_path / "mine.yaml").write_text(version)
        recipe = read_recipe_file(tmp_path / "mine.yaml")
        assert recipe.resolved() | {"datasets": None} == defaults.resolved() | {"datasets": None}
        assert recipe.datasets["folder"].material == "metal"
        assert recipe.max_rejected == defaults.max_rejected
        assert recipe.name == "my-set"


def switched_on(text):
    """A starter recipe whose commented fields are not comments any more; prose and examples stay comments."""
    return re.sub(r"^( *)# (?!categories)(\w+: )", r"\1\2", text, flags=re.MULTILINE)


def test_starter_recipe_has_every_field(tmp_path):
    values = yaml.safe_load(switched_on(starter_recipe()))
    assert values.keys() == Recipe.model_fields.keys()
    assert values["types"].keys() == SURFACE_TYPES.keys() | {"auto"}
    for name, kind in SURFACE_TYPES.items():
        assert values["types"][name].keys() == kind.settings.model_fields.keys() - {"style"}


def test_init_writes_a_recipe_that_plans(tmp_path):
    build_normals(tmp_path / "root", per_category=2)
    done = synthgen("init", tmp_path / "mine.yaml")
    assert (done.returncode, done.stdout) == (0, f"{tmp_path / 'mine.yaml'}\n")
    assert (tmp_path / "mine.yaml").read_text() == starter_recipe()
    planned = synthgen("plan", "--recipe", tmp_path / "mine.yaml", "--root", tmp_path / "root", "--samples")
    assert planned.returncode == 0, planned.stderr
    assert len(planned.stdout.splitlines()) == 4 * 3  # a mixture: three of each normal image


def test_init_overwrites_nothing(tmp_path):
    (tmp_path / "mine.yaml").write_text("mine")
    refused = synthgen("init", tmp_path / "mine.yaml")
    assert refused.returncode == 2
    assert f"{tmp_path / 'mine.yaml'}: exists already" in refused.stderr
    assert (tmp_path / "mine.yaml").read_text() == "mine"
    assert synthgen("init", tmp_path / "no folder/mine.yaml").returncode == 5


# the schema


def accepts(values):
    """Whether the schema lets a recipe pass."""
    validator = pytest.importorskip("jsonschema").Draft202012Validator
    validator.check_schema(recipe_schema())
    return validator(recipe_schema()).is_valid(values)


SMALL = {"datasets": {"demo": {}}, "types": {"crack": {}}}


def test_schema_has_every_field_and_setting():
    schema = recipe_schema()
    assert schema["properties"].keys() == Recipe.model_fields.keys()
    assert schema["additionalProperties"] is False
    definitions = schema["$defs"]
    assert definitions["DatasetRecipe"]["properties"].keys() == DatasetRecipe.model_fields.keys()
    for name, kind in TYPES.items():
        own = definitions[name]
        assert own["properties"].keys() == kind.settings.model_fields.keys() | TypeRecipe.model_fields.keys()
        assert own["additionalProperties"] is False
        assert "required" not in own
    assert schema["properties"]["types"]["anyOf"][1]["properties"].keys() == TYPES.keys() | ALIASES.keys() | {"auto"}
    assert schema["required"] == ["datasets"]  # without types, a mixture is made


def test_schema_has_what_it_refers_to():
    """Also inside the definitions of types, whose own references would lead nowhere once they are moved."""
    schema = recipe_schema()
    references = {entry.rpartition("/")[2] for entry in find_references(schema)}
    assert references == schema["$defs"].keys()
    assert all("$defs" not in definition for definition in schema["$defs"].values())
    assert all(entry.startswith("#/$defs/") for entry in find_references(schema))


def find_references(value):
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from [inner] if key == "$ref" else find_references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from find_references(inner)


def test_init_prints_the_schema():
    done = synthgen("init", "--schema")
    assert done.returncode == 0
    schema = json.loads(done.stdout)
    assert schema == recipe_schema()
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"


@pytest.mark.parametrize("name", ["starter", "starter, all on", *recipe_names()])
def test_schema_accepts_recipes_that_are_right(name):
    if name in recipe_names():
        values = load_recipe(name).model_dump(mode="json", exclude_unset=True)
    else:
        values = yaml.safe_load(starter_recipe() if name == "starter" else switched_on(starter_recipe()))
    assert accepts(values)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"size": 256},
        {"size": [256, 320]},
        {"types": ["crack", "tps"]},
        {"types": {"tps": None}},
        {"types": {"crack": {"per_image": 2, "style": "paper", "strength": "subtle"}}},
        {"datasets": ["demo"]},
        {"datasets": {"demo": None}},
        {"datasets": {name: {"per_image": 1} for name in dataset_names()}},
    ],
)
def test_schema_accepts_what_a_recipe_accepts(changes):
    make_recipe(SMALL | changes)
    assert accepts(SMALL | changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"sized": 256},
        {"size": 8},
        {"size": [256]},
        {"types": {}},
        {"types": []},
        {"types": {"crackle": {}}},
        {"types": {"crack": {"width": 1}}},
        {"datasets": {}},
        {"datasets": {"imagenet": {}}},
        {"datasets": {"demo": {"kategories": ["a"]}}},
        {"foreground": "sometimes"},
        {"seed": -1},
        {"share": 0},
        {"layout": "flat"},
    ],
)
def test_schema_refuses_what_a_recipe_refuses(changes):
    assert accepts(SMALL)
    assert not accepts(SMALL | changes)


# differences


@pytest.fixture(scope="module")
def normals(tmp_path_factory):
    return build_normals(tmp_path_factory.mktemp("normals"), per_category=2)


@pytest.fixture(scope="module")
def one(normals, tmp_path_factory):
    """A small dataset; not to be written."""
    out = tmp_path_factory.mktemp("one") / "out"
    assert synthgen(*build_arguments(normals, out, "--jobs", 1, per_image=1)).returncode == 0
    return out


def test_nothing_differs(one, tmp_path):
    copy = shutil.copytree(one, tmp_path / "copy")
    assert not compare(one, copy).any
    assert compare(one, copy).config == []
    done = synthgen("diff", one, copy)
    assert (done.returncode, done.stdout) == (0, f"only in {one}: 0\nonly in {copy}: 0\nchanged: 0\nequal: 8\n")


def test_another_seed_changes_the_samples(one, normals, tmp_path):
    other = tmp_path / "other"
    assert synthgen(*build_arguments(normals, other, "--seed", 1, per_image=1)).returncode == 0
    found = compare(one, other)
    assert found.config == ["seed: 0 -> 1"]
    assert (found.only_first, found.only_second, found.same) == ([], [], 0)
    assert len(found.changed) == 8
    said = synthgen("diff", one, other).stdout.splitlines()
    assert said[0] == "seed: 0 -> 1"
    assert "changed: 8" in said
    assert "  ... and 3 more" in said


def test_samples_that_one_lacks(one, normals, tmp_path):
    """Another count of samples and one type less: what both have is the same, the rest is listed, either way round."""
    more = tmp_path / "more"
    command = build_arguments(normals, more, per_image=1)
    command[command.index("crack,corrosion")] = "crack,deformation"
    assert synthgen(*command).returncode == 0
    found, turned = compare(one, more), compare(more, one)
    assert [sample.split("/")[3] for sample in found.only_first] == ["corrosion"] * 4
    assert [sample.split("/")[3] for sample in found.only_second] == ["deformation"] * 4
    assert (found.changed, found.same) == ([], 4)
    assert (found.only_first, found.only_second) == (turned.only_second, turned.only_first)
    assert any(line.startswith("types.corrosion: {") and line.endswith("-> null") for line in found.config)
    lines = json.loads(synthgen("diff", one, more, "--json").stdout)
    assert lines == found.to_json()
    assert lines.keys() == {"config", "only_first", "only_second", "changed", "same"}


def test_single_shards_and_unfinished_builds_can_be_compared(one, tmp_path):
    shard = sorted(one.glob("*.h5"))[0]
    found = compare(one, shard)
    assert (len(found.only_first), found.only_second, found.changed, found.same) == (6, [], [], 2)
    unfinished = shutil.copytree(one, tmp_path / "unfinished")
    (unfinished / "manifest.json").unlink()
    (unfinished / shard.name).unlink()
    found = compare(one, unfinished)
    assert (len(found.only_first), found.same) == (2, 6)


def test_what_is_no_dataset_is_refused(one, tmp_path):
    refused = synthgen("diff", one, tmp_path / "nothing")
    assert refused.returncode == 3
    assert "nothing" in refused.stderr
