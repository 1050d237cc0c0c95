"""The command line's contract: exit statuses, what goes to stdout and what to stderr, messages that say the way out."""

import json
import os
import re
import resource
import shutil
import subprocess
import sys

import cv2
import numpy as np
import pytest

from synthgen.cli import main
from tests.support.builders import build_mvtec, build_visa, picture, snapshot, write
from tests.support.commands import COMMAND, build_arguments, build_normals, environment, start, synthgen, tree

VERBS = ("build", "demo", "plan", "replay", "view", "info", "status", "verify", "list")
SAMPLE = "folder/ü/002/corrosion/1"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return build_normals(tmp_path_factory.mktemp("my images"))


@pytest.fixture(scope="module")
def built(root, tmp_path_factory):
    """A finished build; not to be written."""
    out = tmp_path_factory.mktemp("built") / "my sét [/b]"
    done = synthgen(*build_arguments(root, out))
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{out}\n"
    return out


@pytest.mark.parametrize("verb", ["", *VERBS])
def test_help_is_quick_and_light(verb):
    """Half a second of processor time is promised; some is left for a busy machine, and it may try again."""
    code = (
        "import sys; sys.argv[1:] = [*sys.argv[1:], '--help']\n"
        "from synthgen.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "heavy = {'torch', 'cv2', 'h5py', 'skimage', 'scipy', 'numpy', 'joblib'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    seconds = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run([sys.executable, "-c", code, *verb.split()], env=environment(), capture_output=True, text=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert done.returncode == 0, done.stderr
        assert "Usage: synthgen" in done.stdout
        assert done.stderr == ""
        assert "\x1b" not in done.stdout
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        if seconds[-1] < 0.8:
            break
    assert min(seconds) < 0.8


def test_version_and_no_arguments():
    from synthgen import __version__

    assert synthgen("--version").stdout == f"synthgen {__version__}\n"
    nothing = synthgen()
    assert all(verb in nothing.stdout + nothing.stderr for verb in VERBS)


def build_of(*more):
    return ("build", "--dataset", "folder", "--root", "{root}", *more)


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        (("biuld",), 2, ["biuld"]),
        (("build",), 2, ["--dataset", "--recipe"]),
        (("build", "--dataset", "visa", "--recipe", "x.yaml"), 2, ["either"]),
        (("build", "--frobnicate"), 2, ["--frobnicate"]),
        (("build", "--dataset", "vissa"), 2, ["vissa", "Did you mean 'visa'?"]),
        (("build", "--dataset", "visa"), 3, ["--root", "SYNTHGEN_DATA", "https://"]),
        (("build", "--dataset", "demo", "--root", "{root}"), 2, ["--root", "rendered"]),
        (("build", "--dataset", "folder", "--root", "{root}/nowhere"), 3, ["nowhere", "does not exist"]),
        (("build", "--recipe", "nowhere.yaml"), 2, ["nowhere.yaml", "neither a built-in recipe nor a file"]),
        (build_of("--categories", "uu"), 3, ["--categories uu", "Known: a b, ü"]),
        (build_of("--categories", ","), 2, ["names nothing"]),
        (build_of("--types", "carck"), 2, ["carck", "Did you mean 'crack'?"]),
        (build_of("--types", ""), 2, ["names nothing"]),
        (build_of("--types", "crack,fl"), 2, ["--types", "twice"]),
        (build_of("--size", "8"), 2, ["--size", "16 to 4096"]),
        (build_of("--size", "big"), 2, ["--size big", "HEIGHTxWIDTH"]),
        (build_of("--size", "1x2x3"), 2, ["--size 1x2x3"]),
        (build_of("--per-image", "0"), 2, ["--per-image"]),
        (build_of("--per-image", "many"), 2, ["--per-image"]),
        (build_of("--seed", "-1"), 2, ["--seed"]),
        (build_of("--strength", "brutal"), 2, ["--strength", "'subtle', 'normal' or 'strong'"]),
        (build_of("--style", "fancy"), 2, ["--style", "'realistic' or 'paper'"]),
        (build_of("--layout", "sparse"), 2, ["--layout", "'delta' or 'dense'"]),
        (build_of("--base-compression", "zip"), 2, ["--base-compression"]),
        (build_of("--samples-per-shard", "0"), 2, ["--samples-per-shard"]),
        (build_of("--max-rejected", "2"), 2, ["--max-rejected"]),
        (build_of("--max-rejected", "nan"), 2, ["--max-rejected"]),
        (build_of("--material", "gold"), 2, ["material", "gold", "metal"]),
        (build_of("--foreground", "magic"), 2, ["--foreground", "magic"]),
        (build_of("--foreground-masks", "{root}/nowhere"), 3, ["--foreground-masks", "nowhere"]),
        (build_of("--jobs", "0"), 2, ["--jobs"]),
        (build_of("--set", "crack"), 2, ["--set crack", "TYPE.FIELD=VALUE"]),
        (build_of("--set", "crack.contrast_range"), 2, ["TYPE.FIELD=VALUE"]),
        (build_of("--set", "carck.contrast_range=1,2"), 2, ["Did you mean 'crack'?"]),
        (build_of("--set", "crack.contrast=1,2"), 2, ["crack.contrast", "Did you mean 'contrast_range'?"]),
        (build_of("--set", "crack.contrast_range=2,1"), 2, ["crack.contrast_range", "smallest <= largest"]),
        (build_of("--set", "crack.contrast_range=[1"), 2, ["--set crack.contrast_range=[1", "not a value"]),
        (build_of("--set", "crack.contrast_range=2001-13-99"), 2, ["not a value"]),
        (build_of("--types", "crack", "--set", "tps.style=paper"), 2, ["deformation", "--types"]),
        (build_of("--out", "{root}"), 2, ["inside the dataset"]),
        (build_of("--out", "{root}/ü/out"), 2, ["inside the dataset"]),
        (build_of("--out", "{file}"), 2, ["--out", "file"]),
        (build_of("--out", "{file}/out"), 2, ["--out", "file"]),
        (build_of("--out", "{others}"), 2, ["not empty", "thesis.tex"]),
        (build_of("--out", "/proc/synthgen-out"), 5, ["/proc/synthgen-out", "cannot be written"]),
        (("list", "typos"), 2, ["Did you mean 'types'?"]),
        (("status", "{others}"), 3, ["no build here"]),
        (("info", "{others}"), 3, ["synthgen build"]),
        (("info", "{root}/nowhere"), 3, ["nowhere"]),
        (("verify", "{others}"), 3, ["synthgen build"]),
        (("view", "{built}", "-o", "sheet.jpg"), 2, ["sheet.jpg", "PNG"]),
        (("view", "{built}", "-o", "{root}/nowhere/sheet.png"), 3, ["nowhere"]),
        (("view", "{built}", "--type", "carck"), 2, ["Did you mean 'crack'?"]),
        (("view", "{built}", "--category", "a"), 3, ["--category a", "a b"]),
        (("view", "{built}", "--type", "tps"), 3, ["no such sample"]),
        (("replay", "folder/ü/002/crack/9", "--in", "{built}"), 3, ["folder/ü/002/crack/9", "Did you mean"]),
    ],
    ids=lambda value: " ".join(value[:1] + value[-2:]) if isinstance(value, tuple) else None,
)
def test_errors_name_the_thing_and_the_way_out(root, built, tmp_path, monkeypatch, capsys, arguments, status, told):
    (tmp_path / "others").mkdir()
    places = {"root": root, "built": built, "file": tmp_path / "others/thesis.tex", "others": tmp_path / "others"}
    places["file"].write_text("hard work")
    before = snapshot(root), tree(tmp_path), snapshot(built)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SYNTHGEN_DATA", raising=False)
    monkeypatch.setattr(sys, "argv", ["synthgen", *(argument.format(**places) for argument in arguments)])
    with pytest.raises(SystemExit) as end:  # in this process: it is that many commands
        main()
    out, err = capsys.readouterr()
    text = " ".join(re.sub(r"[│╭╮╰╯─]", " ", err).split())
    assert (end.value.code, out) == (status, ""), text
    for part in told:
        assert part in text
    assert "\x1b" not in text
    assert (snapshot(root), tree(tmp_path), snapshot(built)) == before


RECIPE = """\
kind: recipe
name: mine
datasets:
  folder:
    material: wood
types:
  crack:
    per_image: 1
  deformation:
    per_image: 2
size: 48
foreground: none
"""


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("size: 48", "sise: 48"), [":11", "sise", "Did you mean 'size'?"]),
        (("size: 48", "size: [48, 5]"), [":11", "16 to 4096"]),
        (("crack:", "carck:"), [":6", "carck", "Did you mean 'crack'?"]),
        (("  folder:", "  foldr:"), [":3", "foldr", "Did you mean 'folder'?"]),
        (("material: wood", "material: gold"), [":5", "gold"]),
        (("per_image: 2", "per_image: -2"), [":10", "per_image"]),
        (("per_image: 2", "paths: 2"), [":10", "paths"]),
        (("foreground: none", "size: 32"), [":12", "twice"]),
        (("size: 48", "size: [48"), ["not valid YAML"]),
        (("name: mine", "name: !!python/object/apply:os.system [true]"), [":2", "not valid YAML"]),
    ],
    ids=lambda value: value[1] if isinstance(value, tuple) else None,
)
def test_recipe_errors_name_file_and_line(root, tmp_path, change, told):
    path = tmp_path / "my recipe.yaml"
    path.write_text(RECIPE.replace(*change))
    done = synthgen("plan", "--recipe", path, "--root", root)
    assert (done.returncode, done.stdout) == (2, "")
    for part in [str(path), *told]:
        assert part in done.stderr


def test_options_override_a_recipe(root, tmp_path):
    path = tmp_path / "my recipe.yaml"
    path.write_text(RECIPE)

    def samples(*more):
        done = synthgen("plan", "--recipe", path, "--root", root, "--json", *more)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)["categories"][0]["samples"]

    assert samples() == {"crack": 5, "deformation": 10}
    assert samples("--types", "tps") == {"deformation": 10}  # its own settings stay, by whichever name it is called
    assert samples("--types", "crack,corrosion", "--per-image", 4) == {"crack": 20, "corrosion": 20}  # for all of them
    assert samples("--set", "tps.per_image=3") == {"crack": 5, "deformation": 15}


def test_plan_and_dry_run_write_nothing(root, tmp_path):
    arguments = build_arguments(root, tmp_path / "out")
    plan = synthgen("plan", *arguments[1 : arguments.index("--out")], "--json")
    dry = synthgen(*arguments, "--dry-run", "--json", cwd=tmp_path)
    assert plan.stdout == dry.stdout
    found = json.loads(plan.stdout)
    assert (found["samples"], found["shards"], found["size"]) == (40, 10, [48, 48])
    assert [category["category"] for category in found["categories"]] == ["a b", "ü"]
    assert "40 samples" in synthgen(*arguments, "--dry-run", cwd=tmp_path).stdout
    assert list(tmp_path.iterdir()) == []


def test_plan_lists_the_samples_that_a_build_makes(root, built):
    from synthgen.shards import ShardDataset

    done = synthgen("plan", *build_arguments(root, built)[1:-2], "--samples")
    assert done.stdout.splitlines() == ShardDataset(built).ids
    assert SAMPLE in done.stdout.splitlines()


@pytest.mark.parametrize("what", ["", "datasets", "types", "settings", "materials", "recipes"])
def test_list(what):
    done = synthgen("list", *what.split())
    assert (done.returncode, done.stderr) == (0, "")
    expected = {"datasets": "visa", "types": "deformation", "settings": "crack.contrast_range", "materials": "wood"}
    assert expected.get(what, "recipes") in done.stdout


def test_build_says_what_it_did_as_json(root, built, tmp_path):
    out = shutil.copytree(built, tmp_path / "out")
    result = json.loads(synthgen(*build_arguments(root, out, "--json")).stdout)
    assert result == {
        "folder": str(out),
        "planned": 40,
        "made": 40,
        "already": 40,
        "rejected": 0,
        "unreadable": 0,
        "quarantined": {},
        "failed": {},
        "shards": 10,
    }
    assert tree(out) == tree(built)


def test_another_configuration_is_refused_with_the_difference(root, built, tmp_path):
    out = shutil.copytree(built, tmp_path / "out")
    done = synthgen(*build_arguments(root, out, "--seed", 7, "--strength", "strong"))
    assert (done.returncode, done.stdout) == (2, "")
    assert "  seed: 0 -> 7\n" in done.stderr
    assert "  strength:" in done.stderr
    done = synthgen(*build_arguments(root, out, "--categories", "ü"))
    assert done.returncode == 2
    assert "sources_sha256: images of that category were added" in done.stderr
    assert tree(out) == tree(built)


def test_more_is_made_of_other_images_only_elsewhere(root, built, tmp_path):
    """A new image would shift the shards: the finished dataset is left as it is."""
    more = shutil.copytree(root, tmp_path / "more")
    write(more / "ü" / "999.png", picture(99, 48, 48))
    out = shutil.copytree(built, tmp_path / "out")
    done = synthgen(*build_arguments(more, out))
    assert done.returncode == 2
    assert "sources_sha256.folder/ü" in done.stderr
    assert tree(out) == tree(built)


def test_output_beside_a_downloads_wrapper_folder_is_inside_the_dataset(tmp_path):
    build_mvtec(tmp_path / "mvtec_anomaly_detection", categories=("bottle",))
    before = snapshot(tmp_path)
    done = synthgen("build", "--dataset", "mvtec", "--root", tmp_path, "--out", tmp_path / "out", "--size", 48)
    assert done.returncode == 2
    assert "inside the dataset" in done.stderr
    assert snapshot(tmp_path) == before


def test_files_of_others_are_not_swept_away(root, tmp_path):
    """A folder with nothing but somebody's temporary file in it is not empty."""
    (tmp_path / "notes.tmp-1").write_text("hard work")
    done = synthgen(*build_arguments(root, tmp_path))
    assert done.returncode == 2
    assert "notes.tmp-1" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["notes.tmp-1"]


def test_somebody_elses_configuration_is_left_alone(root, tmp_path):
    (tmp_path / "config.json").write_text('{"editor": "vi"}')
    done = synthgen(*build_arguments(root, tmp_path))
    assert done.returncode == 2
    assert "config.json" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]
    assert synthgen("status", tmp_path).returncode == 3


def test_dataset_from_the_environment_is_only_read(tmp_path):
    build_visa(tmp_path / "data/visa", categories=("candle",))
    before = snapshot(tmp_path / "data")
    arguments = ("build", "--dataset", "visa", "--types", "crack", "--per-image", 1, "--size", 48, "--foreground", "none")
    done = synthgen(*arguments, "--max-rejected", 1, cwd=tmp_path, env=environment(SYNTHGEN_DATA=tmp_path / "data"))
    assert done.returncode == 0, done.stderr
    assert done.stdout == "synthgen-out/visa\n"
    assert snapshot(tmp_path / "data") == before


def test_status_of_unfinished_and_complete_builds(root, built, tmp_path):
    found = json.loads(synthgen("status", built, "--json").stdout)
    assert (found["state"], found["shards"], found["samples"]) == ("complete", [10, 10], [40, 40])
    out = shutil.copytree(built, tmp_path / "out")
    (out / "manifest.json").unlink()
    next(out.glob("*.h5")).unlink()
    done = synthgen("status", out)
    assert done.stdout.startswith("unfinished: 36 of 40 samples, 9 of 10 shards\n")
    assert "Run the same `synthgen build` again" in done.stderr
    whole = synthgen("verify", out)
    assert whole.returncode == 0
    assert "not complete" in whole.stderr


def test_info(built):
    found = json.loads(synthgen("info", built, "--json").stdout)
    assert (found["samples"], found["shards"], found["complete"]) == (40, 10, True)
    assert found["image_sizes"] == ["48 x 48"]
    assert found["bytes"] == sum(path.stat().st_size for path in built.glob("*.h5"))
    assert [(group["category"], group["type"]) for group in found["groups"]] == [
        (category, kind) for category in ("folder/a b", "folder/ü") for kind in ("corrosion", "crack")
    ]
    assert all(0 < group["area"][0] <= group["area"][2] < 100 for group in found["groups"])
    table = synthgen("info", built).stdout
    assert "40 samples in 10 shards" in table
    shard = next(built.glob("*.h5"))
    assert json.loads(synthgen("info", shard, "--json").stdout)["samples"] == 4


def test_verify_names_the_flipped_byte(built, tmp_path):
    out = shutil.copytree(built, tmp_path / "out")
    shard = sorted(out.glob("*.h5"))[3]
    assert synthgen("verify", shard).stdout == f"{shard}: whole\n"
    from synthgen.shards import ShardDataset

    normal = ShardDataset(shard)[0].normal.tobytes()
    data = bytearray(shard.read_bytes())
    data[data.index(normal) + 1000] ^= 4
    shard.write_bytes(data)
    done = synthgen("verify", shard)
    assert done.returncode == 4
    assert f"Remove {shard.name}" in done.stderr
    assert all(line.startswith(shard.name) for line in done.stdout.splitlines())
    findings = json.loads(synthgen("verify", out, "--json").stdout)
    assert {finding["shard"] for finding in findings} == {shard.name}
    assert {finding["sample_id"] for finding in findings} > {"folder/a b/003/crack/0"}
    assert synthgen("verify", shard, "--quick").returncode == 4


def test_view_writes_a_picture_of_what_was_asked_for(built, tmp_path):
    for number, more in enumerate(([], ["--category", "ü", "--type", "fl,corrosion", "-n", 1])):
        path = tmp_path / f"{number} ü.png"
        done = synthgen("view", built, "-o", path, *more)
        assert (done.returncode, done.stdout) == (0, f"{path}\n")
        sheet = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
        assert len(np.unique(sheet.reshape(-1, 3), axis=0)) > 1000
    assert cv2.imdecode(np.frombuffer((tmp_path / "0 ü.png").read_bytes(), np.uint8), 1).shape[0] > sheet.shape[0]
    assert synthgen("view", built, "-o", "/proc/x.png").returncode == 5


def test_replay_gives_the_same_sample(built, tmp_path):
    done = synthgen("replay", SAMPLE, "--in", built, "--out", tmp_path / "look")
    found = json.loads(done.stdout)
    assert found["same_from_seed"] is found["same_from_params"] is True
    assert (found["sample_id"], found["source"]) == (SAMPLE, "ü/002.png")
    assert found["params"]
    pictures = {path.name.rpartition("-")[2]: cv2.imread(str(path)) for path in (tmp_path / "look").iterdir()}
    changed = (pictures["image.png"] != pictures["normal.png"]).any(axis=2)
    mask = pictures["mask.png"][..., 0]
    assert set(np.unique(mask)) == {0, 255}
    assert (mask > 0).sum() == found["area"]
    assert changed[mask > 0].all()


def test_demo_makes_something_to_look_at(tmp_path):
    done = synthgen("demo", "--out", tmp_path / "demo", "--size", 64)
    assert done.returncode in (0, 6), done.stderr  # at this size some samples are too small to be seen
    sheet = tmp_path / "demo/sheet.png"
    assert done.stdout == f"{sheet}\n"
    assert cv2.imread(str(sheet)).std() > 10
    assert json.loads(synthgen("status", tmp_path / "demo", "--json").stdout)["state"] == "complete"


def test_a_reader_that_had_enough_is_no_error_to_talk_about(root, built):
    """`synthgen plan --samples | head -1`, as the help suggests."""
    arguments = [*COMMAND, "plan", *map(str, build_arguments(root, built, per_image=900)[1:-2]), "--samples"]
    with subprocess.Popen(arguments, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        first = process.stdout.readline()
        process.stdout.close()
        rest = process.stderr.read()
    assert first == "folder/a b/000/crack/0\n"
    assert rest == ""


COLOUR = re.compile(r"\x1b\[(?:\d+;)*(?:3[0-8]|4[0-8]|9[0-7]|10[0-7])(?:;\d+)*m")


def on_a_terminal(arguments, **changes):
    """What a command writes to a terminal as its stderr."""
    ours, theirs = os.openpty()
    with start(*arguments, env=environment(TERM="xterm-256color", **changes), stderr=theirs) as process:
        os.close(theirs)
        text = b""
        while True:
            try:
                part = os.read(ours, 4096)
            except OSError:  # the terminal has no one left
                break
            text += part
            if not part:
                break
        assert "\x1b" not in process.stdout.read()
    os.close(ours)
    assert process.returncode == 0, text
    return text.decode()


def test_colours_are_for_terminals_and_not_for_those_who_want_none(root, built, tmp_path):
    """A bar moves on a terminal; colours are shown unless NO_COLOR is set."""
    out = shutil.copytree(built, tmp_path / "out")
    for path in list(out.glob("*.h5"))[:5]:
        path.unlink()
    assert COLOUR.search(on_a_terminal(build_arguments(root, out)))
    next(out.glob("*.h5")).unlink()
    assert not COLOUR.search(on_a_terminal(build_arguments(root, out), NO_COLOR=1))
    assert tree(out) == tree(built)
