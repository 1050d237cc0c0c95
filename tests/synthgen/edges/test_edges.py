"""Edge edits end to end: a generator is trained, anomalies are built with it, and replayed; and all that can go wrong."""

import json
import os
import signal
import subprocess
import sys

import h5py
import numpy as np
import pytest
import torch

from synthgen.builder.task import ShardTask, build_shard
from synthgen.decisions import decide
from synthgen.edges.config import make_config
from synthgen.edges.generator import Generator
from synthgen.edges.model import EdgeGenerator, ModelCard, load_generator, read_card, save_generator
from synthgen.edges.pidinet import PiDiNet
from synthgen.edges.pipeline import EdgeAssets, edge_pipeline
from synthgen.errors import InputDataError, IntegrityError, UsageError
from synthgen.plan import make_plan
from synthgen.recipe import make_recipe
from synthgen.shards import ShardDataset
from synthgen.synthesis import SynthesisDataset
from tests.support.commands import environment, hooks, synthgen
from tests.support.edge_scenes import SIDE, SMALL, build, train, write_scenes

TWO = ("--per-image", 2)
THRESHOLDS = {"logical": {"threshold": 0.15}, "structural": {"threshold": 0.15}}


@pytest.fixture(scope="module")
def root(scenes):
    return scenes


@pytest.fixture(scope="module")
def built(root, generator, tmp_path_factory):
    out = tmp_path_factory.mktemp("built") / "set"
    done = build(root, out, generator, *TWO)
    assert done.returncode == 0, done.stderr
    return out


def plan_of(root, generator, **changes):
    recipe = make_recipe({"datasets": ["folder"], "types": THRESHOLDS, "per_image": 2, "size": SIDE} | changes)
    return make_plan(decide(recipe, {"folder": root}, edges=EdgeAssets(generator)))


def test_a_training_leaves_a_model_a_log_and_pictures_to_look_at(generator):
    card = read_card(generator)
    assert card.dataset == "folder"
    assert card.categories == ("scene",)
    assert card.edges == "soft"
    assert 0 < card.measured["l1"] < 1
    assert (generator / "samples.png").is_file()
    assert any((generator / "tensorboard").iterdir())
    lines = [json.loads(line) for line in (generator / "log.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == list(range(1, len(lines) + 1))
    assert lines[-1]["loss_perceptual"] < lines[0]["loss_perceptual"]
    assert not (generator / "checkpoint.safetensors").exists()
    drawn = load_generator(generator).draw([np.ones((SIDE, SIDE), np.float32)] * 3)
    assert [picture.shape for picture in drawn] == [(SIDE, SIDE, 3)] * 3
    assert np.array_equal(drawn[0], drawn[1])


def test_a_finished_training_is_not_done_again_and_another_is_refused(root, generator):
    before = (generator / "model.safetensors").stat().st_mtime_ns
    assert train(root, generator).returncode == 0
    assert (generator / "model.safetensors").stat().st_mtime_ns == before
    other = train(root, generator, 61)
    assert other.returncode == 2
    assert "steps" in other.stderr


def test_a_training_that_is_killed_resumes_to_the_same_bytes(root, generator, tmp_path):
    out = tmp_path / "killed"
    script = (
        "import os, signal; import synthgen.training.loop as t; t.CHECKPOINT_SECONDS = 0; "
        "log = t.RunFolder.log; "
        "t.RunFolder.log = lambda run, record: os.kill(os.getpid(), signal.SIGKILL) "
        "if record['epoch'] == 9 else log(run, record); "
        "from synthgen.cli import main; main()"
    )
    arguments = ["train", "edge-generator", "--dataset", "folder", "--root", str(root), "--out", str(out), *SMALL]
    arguments += ["--set", "steps=60", "--device", "cpu"]
    command = [sys.executable, "-c", script, *arguments]
    killed = subprocess.run(command, capture_output=True, check=False, timeout=300, env=environment())
    assert killed.returncode == -signal.SIGKILL
    assert (out / "checkpoint.safetensors").is_file()
    assert not (out / "model.safetensors").exists()
    assert train(root, out).returncode == 0
    assert (out / "model.safetensors").read_bytes() == (generator / "model.safetensors").read_bytes()


def test_samples_keep_the_promises_of_all_samples(built):
    samples = ShardDataset(built)
    assert {sample.spec.type for sample in samples} == {"logical", "structural"}
    accepted = [sample for sample in samples if not sample.rejected]
    assert len(accepted) >= len(samples) // 2
    for sample in accepted:
        changed = (sample.image != sample.normal).any(-1)
        assert changed[sample.mask > 0].all()
        largest = np.abs(sample.image.astype(int) - sample.normal).max(-1)
        assert largest[sample.mask == 0].max() < 6  # what can be seen is in the mask
        assert sample.generated is None
        assert sample.params["operation"] in ("remove", "replace", "merge")
    assert synthgen("verify", built).returncode == 0


def test_bytes_depend_on_nothing_but_the_recipe(root, generator, built, tmp_path):
    other = ("--jobs", 2, "--samples-per-shard", 8)
    assert build(root, tmp_path / "two", generator, *TWO, *other).returncode == 0
    ours, theirs = ShardDataset(built), ShardDataset(tmp_path / "two")
    in_memory = SynthesisDataset(plan_of(root, generator))
    assert len(ours) == len(theirs) == len(in_memory) == 40
    for one, other, made in zip(ours, theirs, in_memory, strict=True):
        assert one.spec == other.spec == made.spec
        assert np.array_equal(one.image, other.image)
        assert np.array_equal(one.image, made.image)
        assert np.array_equal(one.mask, made.mask)
        assert one.params == json.loads(json.dumps(made.params))


def test_more_samples_per_image_change_none_of_the_others(root, generator, built):
    more = {sample.spec.sample_id: sample for sample in SynthesisDataset(plan_of(root, generator, per_image=3))}
    for sample in ShardDataset(built):
        assert np.array_equal(sample.image, more[sample.spec.sample_id].image)


def test_edges_and_regions_are_worked_out_once(root, generator, built, monkeypatch):
    here = edge_pipeline(EdgeAssets(generator, device="cpu"))
    monkeypatch.setattr(type(here), "_worked_out", lambda *_: pytest.fail("it is in the cache"))
    here._scenes.clear()
    assert len([*SynthesisDataset(plan_of(root, generator))][:4]) == 4


def test_a_sample_replays_from_its_seed_and_from_its_parameters(built, generator):
    names = [sample.spec.sample_id for sample in ShardDataset(built) if not sample.rejected]
    for name in (names[0], names[-1]):
        done = synthgen("replay", name, "--in", built, "--edge-generator", generator, "--device", "cpu")
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)
        assert told["same_from_seed"]
        assert told["same_from_params"]
    without = synthgen("replay", names[0], "--in", built)
    assert without.returncode == 2
    assert "--edge-generator" in without.stderr


def test_the_papers_mode_keeps_whole_generated_pictures_and_their_normals(root, generator, tmp_path):
    out = tmp_path / "paper"
    asked = [f"{kind}.{setting}" for kind in THRESHOLDS for setting in ("mode=paper", "keep_difference=true")]
    paper = [part for one in asked for part in ("--set", one)]
    assert build(root, out, generator, "--per-image", 1, *paper).returncode == 0
    assert synthgen("verify", out).returncode == 0
    samples = [sample for sample in ShardDataset(out) if not sample.rejected]
    assert samples
    for sample in samples:
        assert sample.box == (0, 0, SIDE, SIDE)
        assert sample.generated is not None
        assert not np.array_equal(sample.generated, sample.normal)
        far = np.abs(sample.image.astype(int) - sample.generated).mean(-1)[sample.mask == 0].mean()
        assert far < np.abs(sample.image.astype(int) - sample.generated).mean(-1)[sample.mask > 0].mean()
        assert sample.difference is not None
        assert ((sample.difference > 0.15 * 255) & (sample.mask > 0)).sum() > 0.5 * sample.area
    name = samples[0].spec.sample_id
    assert synthgen("replay", name, "--in", out, "--edge-generator", generator, "--device", "cpu").returncode == 0
    with h5py.File(next(out.glob("*.h5"))) as file:
        assert {"generated_index", "ssim_diff"} <= set(file)
        assert len(np.unique(file["generated_index"][:][file["label"][:] > 0])) <= 10  # one for each normal image
    made = {sample.spec.sample_id: sample for sample in SynthesisDataset(plan_of(
        root, generator, per_image=1,
        types={kind: {"threshold": 0.15, "mode": "paper", "keep_difference": True} for kind in THRESHOLDS},
    ))}  # fmt: skip
    for sample in samples:
        assert np.array_equal(sample.image, made[sample.spec.sample_id].image)
        assert np.array_equal(sample.generated, made[sample.spec.sample_id].generated)
        assert np.array_equal(sample.difference, made[sample.spec.sample_id].difference)


def test_a_kept_difference_is_a_matter_of_each_type(root, generator, tmp_path):
    more = ("--set", "logical.keep_difference=true", "--per-image", 1)
    assert build(root, tmp_path / "set", generator, *more).returncode == 0
    assert synthgen("verify", tmp_path / "set").returncode == 0
    kept = {sample.spec.type: sample.difference is not None for sample in ShardDataset(tmp_path / "set") if not sample.rejected}
    assert kept == {"logical": True, "structural": False}


def test_a_donor_that_cannot_be_read_lends_nothing_and_stops_nothing(generator, tmp_path):
    broken = write_scenes(tmp_path / "broken", 6)
    file = broken / "scene" / "003.png"
    data = bytearray(file.read_bytes())
    at = data.index(b"IDAT") + 20
    data[at : at + 200] = bytes(200)  # its structure stays sound
    file.write_bytes(data)
    done = build(broken, tmp_path / "set", generator, "--per-image", 2)
    assert done.returncode == 0, done.stderr
    samples = ShardDataset(tmp_path / "set")
    assert {sample.spec.source for sample in samples} == {f"scene/{k:03}.png" for k in (0, 1, 2, 4, 5)}
    assert "scene/003.png" not in {sample.params["donor"] for sample in samples if not sample.rejected}


def test_an_image_that_killed_workers_lends_nothing(root, generator, built, tmp_path):
    plan = plan_of(root, generator)
    (shard,) = plan.shards
    place = (shard.dataset, shard.category)
    build_shard(ShardTask(
        folder=tmp_path, shard=shard, recipe=plan.recipe, method=plan.methods[place], config_json=plan.config_json, licence="",
        quarantined={"folder/scene/003": "killed"}, category_edges=plan.category_edges(*place),
    ))  # fmt: skip
    before, after = ({sample.params["donor"] for sample in ShardDataset(where) if not sample.rejected}
                     for where in (built, tmp_path))  # fmt: skip
    assert "scene/003.png" in before
    assert "scene/003.png" not in after
    assert "" in after
    assert len(after) > 2


def test_files_of_the_same_names_elsewhere_are_other_images(root, generator, tmp_path):
    other = write_scenes(tmp_path, 10, first=100)
    for k in range(10):
        (other / "scene" / f"{100 + k}.png").rename(other / "scene" / f"{k:03}.png")
    before = SynthesisDataset(plan_of(root, generator, per_image=1))[:4]
    after = SynthesisDataset(plan_of(other, generator, per_image=1))[:4]
    edge_pipeline.cache_clear()
    alone = SynthesisDataset(plan_of(other, generator, per_image=1))[:4]
    for one, same, different in zip(after, alone, before, strict=True):
        assert np.array_equal(one.image, same.image)
        assert not np.array_equal(one.image, different.image)


def test_a_generator_that_changes_in_its_place_is_noticed(root, generator, tmp_path):
    mine = tmp_path / "model.safetensors"
    mine.write_bytes((generator / "model.safetensors").read_bytes())
    plan = plan_of(root, mine)
    first = SynthesisDataset(plan)[0]
    loaded = load_generator(mine)
    changed = {name: value * 1.01 for name, value in loaded.network.state_dict().items()}
    save_generator(mine, changed, loaded.card)
    assert not np.array_equal(SynthesisDataset(plan_of(root, mine))[0].image, first.image)
    edge_pipeline.cache_clear()
    with pytest.raises(IntegrityError, match="changed since"):
        SynthesisDataset(plan)[0]


def test_pictures_do_not_depend_on_the_number_of_threads():
    torch.manual_seed(0)
    card = ModelCard(
        config=make_config("cpu", {}),
        dataset="x",
        categories=("x",),
        licence="",
        edges="soft",
        edges_sha256="",
        edges_licence="",
        measured={},
    )
    drawer = EdgeGenerator(card, Generator(1, 16, 3, 4).eval(), torch.device("cpu"))
    edges = [np.random.default_rng(0).random((128, 128), np.float32)]
    before, drawn = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            drawn += drawer.draw(edges)
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert np.array_equal(drawn[0], drawn[1])
    assert np.array_equal(drawn[0], drawn[2])


def test_one_shard_and_a_share_find_the_donors(root, generator, tmp_path):
    assert build(root, tmp_path / "many", generator, *TWO, "--samples-per-shard", 8).returncode == 0
    assert build(root, tmp_path / "part", generator, *TWO, "--sample", "30%").returncode == 0
    shard = sorted((tmp_path / "many").glob("*.h5"))[0]
    common = ("--edge-generator", generator, "--device", "cpu")
    for place, more in ((shard, ()), (tmp_path / "part", ("--root", root))):
        names = [one.spec.sample_id for one in ShardDataset(place) if not one.rejected and one.params["donor"]]
        done = synthgen("replay", names[0], "--in", place, *common, *more)
        assert done.returncode == 0, done.stderr
        sheet = synthgen("view", place, "--steps", "-n", 2, "-o", tmp_path / "sheet.png", *common, *more)
        assert sheet.returncode == 0, sheet.stderr


def test_a_sample_that_kills_its_worker_is_found_among_its_neighbours(generator, tmp_path):
    hooked = hooks(tmp_path / "hooks", HOOK_SAMPLE="folder/scene/002/structural/1", HOOK_HOW="kill")
    few = write_scenes(tmp_path / "few", 4)
    done = build(few, tmp_path / "set", generator, *TWO, env=hooked)
    assert done.returncode == 0, done.stderr
    assert list(json.loads((tmp_path / "set" / "quarantine.json").read_text())) == ["folder/scene/002/structural/1"]


def test_samples_may_be_larger_than_what_the_generator_draws(root, generator):
    samples = SynthesisDataset(plan_of(root, generator, size=(96, 128), per_image=1))
    made = [sample for sample in samples[:6] if not sample.rejected]
    assert made
    assert all(sample.image.shape == (96, 128, 3) and sample.mask.shape == (96, 128) for sample in made)


def test_a_single_picture_can_only_lose_edges(generator, tmp_path):
    alone = write_scenes(tmp_path / "alone", 1)
    assert "can lend edges" in build(alone, tmp_path / "set", generator, "--per-image", 1).stderr
    samples = SynthesisDataset(plan_of(alone, generator, per_image=6))
    assert {sample.params["operation"] for sample in samples if not sample.rejected} <= {"remove"}


def test_what_does_not_fit_is_refused_with_the_way_out(root, generator, built, tmp_path):
    cases = [
        (("--types", "logical"), 2, "synthgen train edge-generator"),
        (("--types", "logical", "--edge-generator", tmp_path / "none"), 3, "no trained generator"),
        (("--types", "crack", "--edge-generator", generator), 2, "--types logical,structural"),
        (("--types", "crack", "--weights", "pidinet=x.pth"), 2, "--edge-generator"),
        (("--types", "logical", "--edge-generator", generator, "--weights", "edges=x"), 2, "pidinet=FILE"),
        (("--types", "logical", "--edge-generator", generator, "--layout", "dense", "--set", "logical.mode=paper"), 2, "delta"),
        (("--types", "auto,logical", "--edge-generator", generator), 2, "weight"),
        (("--types", "logical", "--edge-generator", generator, "--sam-checkpoint", tmp_path / "sam.pth"), 2, "SAM"),
    ]
    for more, status, said in cases:
        done = synthgen("build", "--dataset", "folder", "--root", root, "--out", tmp_path / "out", "--device", "cpu", *more)
        assert done.returncode == status, (more, done.stderr)
        assert said in done.stderr, (more, done.stderr)
        assert not (tmp_path / "out").exists()
    other = synthgen("build", "--dataset", "demo", "--categories", "gear", "--types", "logical", "--edge-generator", generator)
    assert other.returncode == 2
    assert "was trained on folder" in other.stderr
    assert synthgen("train", "npc", "--dataset", "demo").returncode == 2


def test_a_model_file_that_is_damaged_or_another_is_refused(generator, tmp_path):
    whole = (generator / "model.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(IntegrityError, match=r"cut\.safetensors"):
        load_generator(tmp_path / "cut.safetensors")
    with pytest.raises(InputDataError, match="no trained generator"):
        load_generator(tmp_path / "none")
    loaded = load_generator(generator)
    card = loaded.card.to_json()
    for change, said in [
        ({"polarity": "black_background"}, "polarity"),
        ({"format": "detectors-run"}, "not an edge-to-image generator"),
        ({"config": card["config"] | {"width": 9}}, "its weights are not"),
        ({"config": {}}, "does not say all"),
    ]:
        from synthgen.runs.folder import save_tensors

        save_tensors(tmp_path / "changed.safetensors", loaded.network.state_dict(), card | change)
        with pytest.raises(IntegrityError, match=said):
            load_generator(tmp_path / "changed.safetensors")
    save_generator(tmp_path / "same.safetensors", loaded.network.state_dict(), loaded.card)
    assert load_generator(tmp_path / "same.safetensors").card == loaded.card


def test_other_edges_than_the_generator_learned_from_are_refused(root, generator, tmp_path):
    torch.manual_seed(0)
    torch.save({"state_dict": PiDiNet(20, 8).state_dict()}, tmp_path / "tiny.pth")
    with pytest.raises(UsageError, match="was trained on the edges of image gradients"):
        make_plan(
            decide(
                make_recipe({"datasets": ["folder"], "types": ["logical"], "size": SIDE}),
                {"folder": root},
                edges=EdgeAssets(generator, tmp_path / "tiny.pth"),
            )
        )


def test_a_generator_that_learned_from_pidinet_says_its_licence(root, tmp_path):
    torch.manual_seed(0)
    torch.save({"state_dict": PiDiNet(20, 8).state_dict()}, tmp_path / "tiny.pth")
    weights = ("--weights", f"pidinet={tmp_path / 'tiny.pth'}")
    done = train(root, tmp_path / "run", 6, *weights, "--set", "perceptual=pidinet")
    assert done.returncode == 0, done.stderr
    assert "research purposes only" in done.stderr
    assert "research purposes only" in read_card(tmp_path / "run").edges_licence
    made = build(root, tmp_path / "set", tmp_path / "run", *weights, "--per-image", 1, types="structural")
    assert made.returncode == 0, made.stderr
    assert "research purposes only" in ShardDataset(tmp_path / "set").headers[0].licence
    assert "research purposes only" in synthgen("info", tmp_path / "set").stdout


def test_a_training_stops_on_a_signal_and_says_how_to_go_on(root, tmp_path):
    arguments = ["train", "edge-generator", "--dataset", "folder", "--root", str(root), "--out", str(tmp_path / "run"), *SMALL]
    script = "from synthgen.cli import main; main()"
    with subprocess.Popen(
        [sys.executable, "-c", script, *arguments, "--set", "steps=100000"], stderr=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    ) as process:  # fmt: skip
        assert process.stderr is not None
        for line in process.stderr:
            if "held out" in line:
                break
        process.send_signal(signal.SIGTERM)
        rest = process.stderr.read()
        assert process.wait(timeout=60) == 143
    assert "it goes on" in rest
    log = tmp_path / "run" / "log.jsonl"
    assert (tmp_path / "run" / "checkpoint.safetensors").exists() == log.exists()


def test_views_of_the_steps_show_every_sample(built, generator, tmp_path):
    sheet = tmp_path / "steps.png"
    done = synthgen("view", built, "--steps", "-n", 2, "-o", sheet, "--edge-generator", generator, "--device", "cpu")
    assert done.returncode == 0, done.stderr
    assert sheet.stat().st_size > 1000
