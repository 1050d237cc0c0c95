"""Recipes: what can be meant is accepted, everything else is refused with its place and a way out."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthgen.anomalies.registry import ALIASES, SURFACE_TYPES
from synthgen.errors import UsageError
from synthgen.recipe import canonical_json, load_recipe, make_recipe, recipe_from_resolved, recipe_names
from synthgen.recipe.file import read_recipe_file
from tests.support.surfaces import stable

DEMO = "datasets:\n  demo: {}\n"
CRACK = DEMO + "types: [crack]\n"


def read(tmp_path, text):
    path = tmp_path / "mine.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_recipe_file(path)


def refusal(tmp_path, text):
    with pytest.raises(UsageError) as caught:
        read(tmp_path, text)
    return str(caught.value).replace(str(tmp_path) + "/", "")


def test_a_recipe_says_what_is_made_and_the_rest_has_defaults(tmp_path):
    recipe = read(tmp_path, DEMO + "types:\n  crack:\n  corrosion: {per_image: 5, strength: strong}\n")
    assert list(recipe.types) == ["crack", "corrosion"]
    assert recipe.size == (512, 512)
    assert recipe.seed == 0
    assert (recipe.replicas("demo", "crack"), recipe.replicas("demo", "corrosion")) == (3, 5)
    assert recipe.settings("crack") == SURFACE_TYPES["crack"].configure()
    assert recipe.settings("corrosion") == SURFACE_TYPES["corrosion"].configure("realistic", "strong")


def test_own_settings_win_over_strength_and_style_of_the_type_over_the_recipes(tmp_path):
    text = DEMO + "style: paper\nstrength: subtle\ntypes:\n  crack: {width_px_range: [3, 4], style: realistic}\n  pl: {}\n"
    recipe = read(tmp_path, text)
    assert recipe.settings("crack").width_px_range == (3, 4)
    assert recipe.settings("crack").contrast_range == tuple(SURFACE_TYPES["crack"].strengths["subtle"]["contrast_range"])
    assert [recipe.settings(name).style for name in ("crack", "corrosion")] == ["realistic", "paper"]


@pytest.mark.parametrize(("alias", "name"), ALIASES.items())
def test_aliases_are_the_types_they_stand_for(tmp_path, alias, name):
    as_list, as_mapping = (read(tmp_path, DEMO + text) for text in (f"types: [{alias}]\n", f"types:\n  {alias.upper()}:\n"))
    assert list(as_list.types) == list(as_mapping.types) == [name]
    assert as_list.resolved() == as_mapping.resolved() == read(tmp_path, DEMO + f"types: [{name}]\n").resolved()


def test_per_image_is_the_types_or_else_the_datasets_or_else_the_recipes():
    values = {"datasets": {"demo": {}, "visa": {"per_image": 2}}, "types": {"crack": {}, "corrosion": {"per_image": 7}}}
    recipe = make_recipe(values | {"per_image": 4})
    replicas = {(d, t): recipe.replicas(d, t) for d in ("demo", "visa") for t in ("crack", "corrosion")}
    assert list(replicas.values()) == [4, 7, 2, 7]


def test_material_is_the_recipes_or_else_what_is_known():
    recipe = make_recipe({"datasets": {"mvtec": {}, "visa": {"material": "wood"}}, "types": ["crack"]})
    assert recipe.material("mvtec", "leather") == "fabric"
    assert recipe.material("mvtec", "metal_nut") == "metal"
    assert recipe.material("visa", "candle") == "wood"


def test_one_number_is_a_square():
    assert make_recipe({"datasets": {"demo": {}}, "types": ["crack"], "size": 64}).size == (64, 64)
    assert make_recipe({"datasets": {"demo": {}}, "types": ["crack"], "size": [64, 48]}).size == (64, 48)


REFUSED = {
    "unknown field": (CRACK + "siez: 64\n", "mine.yaml:4: siez: there is no such setting. Did you mean 'size'?"),
    "unknown setting": (DEMO + "types:\n  crack:\n    width_range: [1, 2]\n", "mine.yaml:5: types.crack.width_range: "),
    "its suggestion": (DEMO + "types:\n  crack:\n    lenght_range: [1, 2]\n", "Did you mean 'length_range'?"),
    "unknown of a dataset": (
        "datasets:\n  demo:\n    categorys: [x]\ntypes: [crack]\n",
        "mine.yaml:3: datasets.demo.categorys",
    ),
    "unknown type": (DEMO + "types: [crack, corosion]\n", "mine.yaml:3: types: type 'corosion'"),
    "unknown dataset": ("datasets:\n  vissa: {}\ntypes: [crack]\n", "mine.yaml:1: datasets: "),
    "duplicate key": (CRACK + "seed: 1\nseed: 2\n", "mine.yaml:5: 'seed' is there twice."),
    "duplicate below": (DEMO + "types:\n  crack: {}\n  crack: {}\n", "mine.yaml:5: 'crack' is there twice."),
    "type and its alias": (DEMO + "types:\n  crack: {}\n  fl: {}\n", "the same type is named twice"),
    "reversed range": (
        DEMO + "types:\n  corrosion:\n    size_range: [0.5, 0.1]\n",
        "mine.yaml:5: types.corrosion.size_range: ",
    ),
    "negative range": (DEMO + "types:\n  crack: {width_px_range: [-1, 2]}\n", "0 <= smallest <= largest"),
    "zero range": (DEMO + "types:\n  crack: {width_px_range: [0, 2]}\n", "greater than 0"),
    "range of one": (DEMO + "types:\n  crack: {width_px_range: [2]}\n", "mine.yaml:4: types.crack.width_px_range"),
    "range with nan": (DEMO + "types:\n  crack: {width_px_range: [1, .nan]}\n", "mine.yaml:4: types.crack.width_px_range"),
    "text in a range": (DEMO + "types:\n  crack: {width_px_range: [a, b]}\n", "mine.yaml:4: types.crack.width_px_range.0"),
    "style": (CRACK + "style: papr\n", "mine.yaml:4: style: Input should be 'realistic' or 'paper'"),
    "strength": (DEMO + "types:\n  crack:\n    strength: mild\n", "mine.yaml:5: types.crack.strength"),
    "foreground": (CRACK + "foreground: clasical\n", "mine.yaml:4: foreground: "),
    "size too small": (CRACK + "size: 8\n", "mine.yaml:4: size: sides from 16 to 4096"),
    "size too large": (CRACK + "size: [64, 5000]\n", "mine.yaml:4: size: sides from 16 to 4096"),
    "size of three": (CRACK + "size: [64, 64, 3]\n", "mine.yaml:4: size"),
    "seed below 0": (CRACK + "seed: -1\n", "mine.yaml:4: seed"),
    "no seed": (CRACK + "seed:\n", "mine.yaml:4: seed"),
    "a fraction as seed": (CRACK + "seed: 1.5\n", "mine.yaml:4: seed"),
    "seed beyond 63 bits": (CRACK + f"seed: {2**63}\n", "mine.yaml:4: seed"),
    "per_image 0": (CRACK + "per_image: 0\n", "mine.yaml:4: per_image"),
    "per_image of a type": (DEMO + "types:\n  crack: {per_image: many}\n", "mine.yaml:4: types.crack.per_image"),
    "material": ("datasets:\n  demo: {material: glass}\ntypes: [crack]\n", "mine.yaml:2: datasets.demo.material"),
    "category of numbers": (
        "datasets:\n  btad: {categories: [01]}\ntypes: [crack]\n",
        "mine.yaml:2: datasets.btad.categories.0",
    ),
    "empty types": (DEMO + "types: {}\n", "mine.yaml:3: types"),
    "no datasets": ("types: [crack]\n", "datasets: Field required"),
    "another kind": (CRACK + "kind: dataset\n", "mine.yaml:4: kind"),
    "max_rejected": (CRACK + "max_rejected: 2\n", "mine.yaml:4: max_rejected"),
    "samples_per_shard": (CRACK + "samples_per_shard: 0\n", "mine.yaml:4: samples_per_shard"),
    "empty file": ("", "mine.yaml: a recipe is a mapping"),
    "a list": ("- crack\n", "mine.yaml: a recipe is a mapping"),
    "two documents": (CRACK + "---\nseed: 1\n", "mine.yaml:4: not valid YAML"),
    "no YAML": ("a: [1,\nb: }", "not valid YAML"),
    "tabs": ("datasets:\n\tdemo: {}\n", "mine.yaml:2: not valid YAML"),
    "not text": (b"\xff\xfe\x00\x01", "mine.yaml: cannot be read as text"),
    "NUL": ("a: \0", "mine.yaml: not valid YAML"),
    "object tag": (CRACK + "seed: !!python/object/apply:os.getcwd []\n", "mine.yaml:4: not valid YAML"),
    "name tag": (CRACK + "seed: !!python/name:os.getcwd\n", "mine.yaml:4: not valid YAML"),
    "deep nesting": ("[" * 100_000, "mine.yaml: not valid YAML: RecursionError"),
    "an alias of itself": (CRACK + "name: &a [*a]\n", "mine.yaml:4: name"),
    "impossible date": (CRACK + "seed: 2001-99-99\n", "mine.yaml: not valid YAML"),
    "a list as key": (CRACK + "? [1, 2]\n: 3\n", "mine.yaml:4: not valid YAML"),
    "an endless number": (CRACK + f"seed: {'9' * 5000}\n", "mine.yaml: not valid YAML"),
    "size of the file": (CRACK + "#" * (1 << 20), "mine.yaml: larger than 1048576 bytes"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_meant_is_refused_with_its_place(tmp_path, case):
    text, expected = REFUSED[case]
    assert expected in refusal(tmp_path, text)


BROKEN = {
    "a number as key": (CRACK + "1: x\n", "mine.yaml:4"),
    "a list of mappings": (DEMO + "types:\n  - crack: {per_image: 2}\n", "mine.yaml:"),
    "a type switched off": (DEMO + "types:\n  crack: false\n  corrosion:\n", "mine.yaml:4"),
    "a type named twice in a list": (DEMO + "types: [crack, crack]\n", "mine.yaml:3"),
    "a tag that does not fit": (CRACK + "seed: !!bool maybe\n", "mine.yaml"),
    "an empty number": (CRACK + "seed: !!int ''\n", "mine.yaml"),
    "line below an alias": (DEMO + "types:\n  fl:\n    foo: 1\n", "mine.yaml:5"),
    "suggestions know per_image": (DEMO + "types:\n  crack: {per_imgae: 1}\n", "Did you mean 'per_image'"),
    "infinity": (DEMO + "types:\n  crack: {width_px_range: [1, .inf]}\n", "mine.yaml:4"),
    "a share of 7": (DEMO + "types:\n  crack: {bright_share: 7}\n", "mine.yaml:4"),
    "no categories": ("datasets:\n  demo: {categories: []}\ntypes: [crack]\n", "mine.yaml:2"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_should_be_refused_with_its_place(tmp_path, case):
    text, expected = BROKEN[case]
    assert expected in refusal(tmp_path, text)


def test_a_billion_laughs_are_refused_at_once(tmp_path):
    from synthgen.recipe import file as recipe_file

    visits = 0
    note_lines = recipe_file._note_lines

    def counted(*args):
        nonlocal visits
        visits += 1
        assert visits < 20_000, "the aliases are expanded"
        note_lines(*args)

    laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
    laughs += "".join(f"a{n + 1}: &a{n + 1} [{', '.join([f'*a{n}'] * 9)}]\n" for n in range(8))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recipe_file, "_note_lines", counted)
        assert "a0" in refusal(tmp_path, laughs + CRACK)


def test_all_that_is_wrong_is_said_at_once(tmp_path):
    text = refusal(tmp_path, CRACK + "style: oil\nseed: -1\nsiez: 3\n")
    assert [line.split(": ")[0] for line in text.splitlines()] == ["mine.yaml:5", "mine.yaml:4", "mine.yaml:6"] or len(
        text.splitlines()
    ) == 3


def test_values_from_elsewhere_are_named_as_they_are_called():
    values = {"datasets": {"demo": {}}, "types": ["crack"], "size": 8}
    with pytest.raises(UsageError, match=r"^--size: sides from"):
        make_recipe(values, {("size",): "--size"})
    with pytest.raises(UsageError, match=r"^the command line: size: "):
        make_recipe(values, source="the command line")


RECIPES = st.fixed_dictionaries(
    {
        "datasets": st.dictionaries(
            st.sampled_from(("demo", "visa", "mvtec")),
            st.fixed_dictionaries(
                {}, optional={"per_image": st.integers(1, 9), "material": st.sampled_from(("wood", "stone"))}
            ),
            min_size=1,
        ),
        "types": st.dictionaries(
            st.sampled_from(("crack", "corrosion", "deformation")),
            st.fixed_dictionaries(
                {},
                optional={
                    "per_image": st.integers(1, 9),
                    "style": st.sampled_from(("realistic", "paper")),
                    "strength": st.sampled_from(("subtle", "strong")),
                },
            ),
            min_size=1,
        ),
    },
    optional={
        "seed": st.integers(0, 2**63 - 1),
        "size": st.tuples(st.integers(16, 4096), st.integers(16, 4096)),
        "strength": st.sampled_from(("subtle", "normal", "strong")),
        "style": st.sampled_from(("realistic", "paper")),
        "foreground": st.sampled_from(("auto", "none")),
        "layout": st.sampled_from(("delta", "dense")),
        "name": st.text(max_size=8),
    },
)


@stable(60)
@given(RECIPES)
def test_a_resolved_recipe_gives_the_same_recipe_again(values):
    recipe = make_recipe(values)
    resolved = json.loads(canonical_json(recipe.resolved()))
    again = recipe_from_resolved(resolved)
    assert again.resolved() == recipe.resolved()
    assert (again.seed, again.size, again.foreground) == (recipe.seed, recipe.size, recipe.foreground)
    for name in recipe.types:
        assert again.settings(name) == recipe.settings(name)
        for dataset in recipe.datasets:
            assert again.replicas(dataset, name) == recipe.replicas(dataset, name)


@stable(150)
@given(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\0"), max_size=60))
def test_no_text_makes_anything_but_a_recipe_or_a_usage_error(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=r"any\.yaml"):
        read_recipe_file(path)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 600) | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@stable(200)
@given(
    st.sampled_from(
        ("datasets", "per_image", "size", "seed", "style", "strength", "foreground", "layout", "name", "max_rejected")
    ),
    VALUES,
)
def test_no_value_makes_anything_but_a_recipe_or_a_usage_error(field, value):
    try:
        recipe = make_recipe({"datasets": {"demo": {}}, "types": ["crack"]} | {field: value})
    except UsageError:
        return
    assert recipe_from_resolved(recipe.resolved()).resolved() == recipe.resolved()


def test_a_path_that_is_no_recipe_is_named(tmp_path):
    for name in (str(tmp_path / "nothing.yaml"), "maphc3f"):
        with pytest.raises(UsageError, match="neither a built-in recipe nor a file"):
            load_recipe(name)
    with pytest.raises(UsageError, match="cannot be read as text"):
        load_recipe(str(tmp_path))
    (tmp_path / "mine.yaml").write_text(CRACK)
    assert load_recipe(str(tmp_path / "mine.yaml")) == make_recipe({"datasets": {"demo": {}}, "types": ["crack"]})


def test_built_in_recipes_can_be_read():
    for name in recipe_names():
        assert load_recipe(name).types
