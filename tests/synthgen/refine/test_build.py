"""Builds with refinement: what stays the normal image's own, what the shards say, and what is refused."""

import json

import h5py
import numpy as np
import pytest

from synthgen.anomalies.registry import SURFACE_TYPES
from synthgen.builder.task import ShardTask, build_shard
from synthgen.decisions import decide
from synthgen.errors import UsageError
from synthgen.painting.surface import Surface
from synthgen.plan import make_plan
from synthgen.recipe import make_recipe
from synthgen.refine.refiner import NO_NETWORKS, RefinementTools, Refiner, refiner
from synthgen.shards import ShardDataset
from synthgen.shards import verify as find_problems
from synthgen.synthesis import SynthesisDataset, sample_generator
from tests.support.commands import synthgen
from tests.support.refinement_runs import SIDE
from tests.support.surfaces import texture


def build(root, out, *more, types="crack,corrosion", size=SIDE, jobs=1):
    return synthgen("build", "--dataset", "folder", "--root", root, "--size", size, "--types", types, "--per-image", 2,
                    "--device", "cpu", "--out", out, "-j", jobs, *more)  # fmt: skip


@pytest.fixture(scope="module")
def stages(root, shards, npcf, npcfpp, tmp_path_factory):
    """The same samples at every stage."""
    place = tmp_path_factory.mktemp("stages")
    asked = {
        "phase-field": ("--refine", "phase-field"),
        "npcf": ("--npcf", npcf),
        "npcf++": ("--refine", "npcf++", "--npcf", npcf, "--npcfpp", npcfpp),
    }
    for stage, more in asked.items():
        done = build(root, place / stage, *more)
        assert done.returncode == 0, done.stderr
    return {"none": shards} | {stage: place / stage for stage in asked}


def test_every_stage_keeps_the_contract_and_only_changes_the_anomaly(stages):
    base = ShardDataset(stages["none"])
    for stage, folder in stages.items():
        assert not find_problems(folder)
        dataset = ShardDataset(folder)
        assert dataset.ids == base.ids
        differ = 0
        for stage_a, sample in zip(base, dataset, strict=True):
            np.testing.assert_array_equal(sample.normal, stage_a.normal)
            assert np.all((sample.image != sample.normal).any(2)[sample.mask > 0])
            differ += not np.array_equal(sample.image, stage_a.image)
            if not sample.rejected and sample.attempt == stage_a.attempt:
                grown = np.zeros_like(sample.mask)
                y, x = np.nonzero(stage_a.mask)
                for dy in range(-2, 3):
                    for dx in range(-2, 3):
                        grown[np.clip(y + dy, 0, SIDE - 1), np.clip(x + dx, 0, SIDE - 1)] = 1
                assert not (sample.image != sample.normal).any(2)[grown == 0].any()
        assert differ == 0 if stage == "none" else differ > len(dataset) // 2


def test_shards_stay_small(stages):
    sizes = {stage: sum(one.stat().st_size for one in folder.glob("*.h5")) for stage, folder in stages.items()}
    for size in sizes.values():
        assert size < 1.15 * sizes["none"]


def test_samples_record_the_stage_and_the_networks(stages, npcf, npcfpp):
    digests = {}
    for stage, folder in stages.items():
        (path,) = folder.glob("*.h5")
        with h5py.File(path) as file:
            config = json.loads(file.attrs["config_json"])
            generators = set(file["meta/generator"].asstr()[()])
        if stage == "none":
            assert "refine" not in config
            assert all(">" not in name for name in generators)
            continue
        assert config["refine"] == stage
        digests[stage] = config["refinement"]["folder"]
        short = [f"{name} {digest[:12]}" for name, digest in digests[stage].items() if name.startswith("npcf")]
        for name in generators:
            assert name.endswith(" > " + (" + ".join(short) or "phase-field 1"))
    from synthgen.files import file_sha256

    assert digests["npcf"] == {"device": "cpu", "npcf": file_sha256(npcf / "model.safetensors")}
    assert digests["npcf++"]["npcf++"] == file_sha256(npcfpp / "model.safetensors")


def test_workers_and_carriers_make_no_difference(root, stages, npcf, npcfpp, tmp_path):
    networks = ("--npcf", npcf, "--npcfpp", npcfpp)
    done = build(root, tmp_path / "two", *networks, "--samples-per-shard", 8, jobs=2)
    assert done.returncode == 0, done.stderr
    one, two = ShardDataset(stages["npcf++"]), ShardDataset(tmp_path / "two")
    recipe = make_recipe({"datasets": ["folder"], "types": ["crack", "corrosion"], "per_image": 2, "size": SIDE})
    tools = RefinementTools((npcf,), (npcfpp,))
    memory = SynthesisDataset(make_plan(decide(recipe, {"folder": root}, refinement=tools)))
    for number in range(len(one)):
        for other in (two[two.index(one.ids[number])], memory[number]):
            np.testing.assert_array_equal(one[number].image, other.image)
            np.testing.assert_array_equal(one[number].mask, other.mask)
            assert one[number].spec == other.spec


def test_samples_of_several_images_made_together_are_the_same(root, stages, npcf, tmp_path, monkeypatch):
    monkeypatch.setattr(Refiner, "at_once", property(lambda self: 3))  # as on a GPU
    recipe = make_recipe(
        {"datasets": ["folder"], "types": ["crack", "corrosion"], "per_image": 2, "size": SIDE, "name": "parts"}
    )
    tools = RefinementTools((npcf,)).seal()
    plan = make_plan(decide(recipe, {"folder": root}, refinement=tools))
    (shard,) = plan.shards
    method = plan.methods[shard.dataset, shard.category]
    task = ShardTask(folder=tmp_path, shard=shard, recipe=plan.recipe, method=method, config_json=plan.config_json, licence="",
                     quarantined={}, refinement=tools)  # fmt: skip
    (whole,) = stages["npcf"].glob("*.h5")
    build_shard(task)
    with h5py.File(whole) as one, h5py.File(tmp_path / shard.name) as other:
        for name in ("base", "delta", "mask", "meta/sample_id", "base_index"):
            np.testing.assert_array_equal(one[name][()], other[name][()])


def test_a_refined_sample_is_replayed_with_its_networks_alone(root, stages, npcf, npcfpp, tmp_path):
    name = ShardDataset(stages["npcf++"]).ids[0]
    done = synthgen("replay", name, "--in", stages["phase-field"], "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["same_from_params"]
    networks = ("--npcf", npcf, "--npcfpp", npcfpp)
    done = synthgen("replay", name, "--in", stages["npcf++"], *networks, "--device", "cpu")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["same_from_seed"]
    without = synthgen("replay", name, "--in", stages["npcf++"])
    assert without.returncode == 2
    assert "--npcf" in without.stderr


def test_a_build_with_another_stage_is_another_build(root, stages):
    done = build(root, stages["phase-field"], "--refine", "none")
    assert done.returncode == 2
    assert "refine" in done.stderr


def test_stages_are_shown_side_by_side(root, stages, tmp_path):
    others = [part for stage in ("phase-field", "npcf", "npcf++") for part in ("--compare", stages[stage])]
    done = synthgen("view", stages["none"], *others, "-n", 2, "-o", tmp_path / "sheet.png")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "sheet.png").stat().st_size > 10_000
    both = synthgen("view", stages["none"], *others, "--steps", "-o", tmp_path / "sheet.png")
    assert both.returncode == 2
    assert build(root, tmp_path / "small", "--refine", "none", size=48).returncode == 0
    sizes = synthgen("view", stages["none"], "--compare", tmp_path / "small", "-o", tmp_path / "sheet.png")
    assert sizes.returncode == 2
    assert "different sizes" in sizes.stderr


def test_networks_that_do_not_fit_are_refused(root, npcf, npcfpp, tmp_path):
    out = tmp_path / "set"
    cases = [
        (("--refine", "npcf"), {}, 2, "one npcf trained on folder is needed; given: none"),
        (("--refine", "npcf++", "--npcf", npcf), {}, 2, "--npcfpp: one npcf++ trained on folder"),
        (("--refine", "phase-field", "--npcf", npcf), {}, 2, "takes no network"),
        (("--refine", "smooth"), {}, 2, "there is no refinement 'smooth'"),
        (("--npcf", npcf), {"size": 48}, 2, "was trained on samples of 64x64 pixels, not of 48x48"),
        (("--npcf", npcfpp), {}, 2, "is npcf++, not npcf"),
        (("--npcf", tmp_path / "nothing"), {}, 3, "no trained npcf"),
        (("--npcf", npcf, "--npcf", npcf), {}, 2, "one npcf trained on folder is needed"),
        (("--refine", "phase-field", "--types", "logical"), {}, 2, "--edge-generator"),
    ]
    for more, how, status, told in cases:
        done = build(root, out, *more, **how)
        assert done.returncode == status, (more, done.stderr)
        assert told in done.stderr, (more, done.stderr)
        assert not list(out.glob("*.h5"))


def test_a_fine_network_wants_the_coarse_one_that_it_learned_from(shards, npcf, npcfpp, tmp_path):
    from synthgen.runs.folder import load_tensors, save_tensors

    tensors, facts = load_tensors(npcf / "model.safetensors")
    other = tmp_path / "model.safetensors"
    save_tensors(other, tensors, facts | {"licence": "another"})
    tools = RefinementTools((other,), (npcfpp,))
    with pytest.raises(UsageError, match="of another npcf"):
        Refiner("npcf++", tools, "folder", (SIDE, SIDE)).name  # noqa: B018


def test_images_smaller_than_a_window_are_refined(npcf, npcfpp):
    tools = RefinementTools((npcf,), (npcfpp,))
    found = Refiner("npcf++", tools, "folder", (SIDE, SIDE))
    assert found.name.startswith("npcf ")
    found._size = (20, 27)  # smaller than any window
    surface = Surface(texture("photo", 20, 27), np.ones((20, 27), np.uint8))
    kind = SURFACE_TYPES["spot"]
    rendered = kind.render_one(surface, kind.draw(sample_generator(0, "x", 0), surface, kind.configure()))
    (refined,) = found.refine([surface.pixels], [rendered])
    assert refined.mask.any()


@pytest.mark.parametrize("size", [(64, 64), (200, 300), (512, 400)])
def test_a_window_holds_an_anomaly_anywhere_and_lies_in_the_image(size):
    rng, refined = np.random.default_rng(0), Refiner("phase-field", NO_NETWORKS, "folder", size)
    for _ in range(200):
        (y0, y1), (x0, x1) = (sorted(rng.choice(side + 1, 2, replace=False)) for side in size)
        top, left, bottom, right = refined._box((y0, x0, y1, x1))
        assert 0 <= top <= y0 < y1 <= bottom <= size[0]
        assert 0 <= left <= x0 < x1 <= right <= size[1]
        for around, side in ((bottom - top, size[0]), (right - left, size[1])):
            assert around in (64, 128, 256, side)  # few sizes, so that many windows are refined together


def test_gray_stays_gray(npcf, npcfpp):
    found = Refiner("npcf++", RefinementTools((npcf,), (npcfpp,)), "folder", (SIDE, SIDE))
    surface = Surface(texture("gray", SIDE, SIDE), np.ones((SIDE, SIDE), np.uint8))
    kind = SURFACE_TYPES["stain"]
    rendered = kind.render_one(surface, kind.draw(sample_generator(0, "x", 1), surface, kind.configure()))
    (refined,) = found.refine([surface.pixels], [rendered])
    assert refined.mask.any()
    assert not np.ptp(refined.patch, axis=2).any()


def test_without_networks_nothing_is_refined_and_recipes_say_how_far():
    assert refiner("none", NO_NETWORKS, "folder", (64, 64)) is None
    recipe = make_recipe({"datasets": ["demo"], "types": ["crack"]})
    assert recipe.refine == "auto"
    assert make_recipe({"datasets": ["demo"], "refine": "pde"}).refine == "phase-field"
    assert make_recipe({"datasets": ["demo"], "refine": "npcfpp"}).refine == "npcf++"
    with pytest.raises(UsageError, match="there is no refinement"):
        make_recipe({"datasets": ["demo"], "refine": "npc"})
