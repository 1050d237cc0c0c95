"""Segment Anything, driven with a tiny checkpoint of its architecture, and the foregrounds it gives to a build."""

import json
import pickle
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch
from segment_anything import sam_model_registry

from synthgen.decisions import decide
from synthgen.edges.sam import SamRegions, build_sam, foreground_of, load_sam
from synthgen.errors import IntegrityError, UsageError
from synthgen.foreground import Method, choose_method, find_foreground, sam
from synthgen.plan import make_plan
from synthgen.recipe import make_recipe
from synthgen.replay import replay_from_shards
from synthgen.samples import NormalImage
from synthgen.shards import ShardDataset
from synthgen.synthesis import SynthesisDataset
from tests.support.builders import build_folder, picture
from tests.support.commands import environment, synthgen
from tests.support.tiny_sam import save_tiny_sam, tiny_sam


@pytest.fixture(autouse=True)
def _clean(tmp_path, monkeypatch):
    monkeypatch.setenv("SYNTHGEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SYNTHGEN_SAM", raising=False)
    sam._model.cache_clear()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return save_tiny_sam(tmp_path_factory.mktemp("sam") / "tiny.pth")


# the model


def shapes(model):
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize("kind", ["vit_b", "vit_l", "vit_h"])
def test_the_published_architectures_are_recognised_by_their_shapes(kind):
    with torch.device("meta"):  # without the weights' gigabytes
        model = sam_model_registry[kind]()
        ours = build_sam(model.state_dict())
    assert shapes(ours) == shapes(model)
    for mine, theirs in zip(ours.image_encoder.blocks, model.image_encoder.blocks, strict=True):
        assert (mine.window_size, mine.attn.num_heads) == (theirs.window_size, theirs.attn.num_heads)
    assert ours.image_encoder.img_size == model.image_encoder.img_size == 1024
    assert ours.prompt_encoder.input_image_size == model.prompt_encoder.input_image_size
    assert ours.mask_decoder.transformer.num_heads == model.mask_decoder.transformer.num_heads


def test_a_loaded_model_computes_what_the_saved_one_did(checkpoint):
    image = torch.from_numpy(picture(0, 64, 64)).permute(2, 0, 1).float()
    point = {"point_coords": torch.tensor([[[30.0, 20.0]]]), "point_labels": torch.ones(1, 1)}
    asked = [{"image": image, "original_size": (64, 64)} | point]
    with torch.inference_mode():
        (ours,), (theirs,) = load_sam(checkpoint)(asked, True), tiny_sam()(asked, True)
    assert all(torch.equal(ours[name], theirs[name]) for name in ("masks", "iou_predictions", "low_res_logits"))


@pytest.mark.parametrize("size", [(64, 64), (40, 90)])
def test_masks_have_the_images_size(checkpoint, size):
    masks = SamRegions(checkpoint, "cpu", points_per_side=4).masks(picture(0, *size))
    assert masks
    assert {(mask.shape, mask.dtype.name) for mask in masks} == {(size, "bool")}
    assert all(mask.any() for mask in masks)


def test_it_travels_without_its_weights_and_draws_the_same(checkpoint):
    regions = SamRegions(checkpoint, "cpu", points_per_side=3)
    image = picture(0, 64, 64)
    masks = regions.masks(image)
    data = pickle.dumps(regions)
    assert len(data) < 2000
    again = pickle.loads(data)
    assert np.array_equal(masks, again.masks(image))
    assert again.sha256 == regions.sha256
    assert len(regions.sha256) == 64


def test_importing_it_imports_neither_torch_nor_the_package():
    code = "import sys, synthgen.foreground.sam; print({'torch', 'segment_anything'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment())
    assert run.stdout.strip() == "set()"


# checkpoints that are none


def damaged(path, how):
    state = tiny_sam().state_dict()
    if how == "renamed tensor":
        state["surplus"] = state.pop("mask_decoder.iou_token.weight")
    elif how == "another network":
        state = torch.nn.Linear(3, 4).state_dict()
    elif how == "other shapes":
        state["image_encoder.blocks.1.mlp.lin2.bias"] = torch.zeros(7)
    elif how == "no dictionary":
        state = [1, 2, 3]
    elif how == "a pickle":
        path.write_bytes(pickle.dumps({"run": subprocess.run}, protocol=2))
        return path
    torch.save(state, path)
    if how == "truncated":
        path.write_bytes(path.read_bytes()[:100_000])
    elif how == "empty":
        path.write_bytes(b"")
    return path


@pytest.mark.parametrize(
    "how",
    ["truncated", "empty", "renamed tensor", "another network", "other shapes", "no dictionary", "a pickle"],
)
def test_a_file_that_holds_no_sam_is_named_with_the_way_out(tmp_path, how):
    path = damaged(tmp_path / "weights.pth", how)
    with pytest.raises(IntegrityError, match=r"weights\.pth.*sam_vit_b_01ec64"):
        SamRegions(path).masks(picture(0, 64, 64))


def test_a_missing_file_and_a_missing_package_are_said_at_once(tmp_path, checkpoint, monkeypatch):
    with pytest.raises(UsageError, match=r"nowhere\.pth.*sam_vit_b"):
        SamRegions(tmp_path / "nowhere.pth")
    monkeypatch.setattr("synthgen.edges.sam.find_spec", lambda name: None if name == "segment_anything" else name)
    with pytest.raises(UsageError, match=r"\.\[edges\]"):
        SamRegions(checkpoint)


# foregrounds


def box(y0, x0, y1, x1):
    mask = np.zeros((60, 80), bool)
    mask[y0:y1, x0:x1] = True
    return mask


def test_the_object_is_what_does_not_run_along_the_border():
    ground, large, small, corner = ~box(5, 5, 55, 70), box(5, 5, 55, 70), box(10, 10, 20, 20), box(0, 70, 10, 80)
    found = foreground_of([ground, small, large, corner], 60, 80)
    assert (found.dtype, set(np.unique(found))) == (np.uint8, {0, 1})
    assert np.array_equal(found > 0, large | corner)
    assert not foreground_of([ground], 60, 80).any()
    assert not foreground_of([], 60, 80).any()


def normal(seed=0, size=64):
    return NormalImage("folder", "part", f"{seed}.png", f"{seed:064x}", picture(seed, size, size))


def test_a_foreground_is_drawn_once_and_then_comes_from_the_cache(tmp_path):
    path = save_tiny_sam(tmp_path / "tiny.pth")
    method = choose_method("sam", "whole", None, [], sam.read_checkpoint(path)).method
    first = find_foreground(normal(), method)
    drawn = foreground_of(SamRegions(path, "cpu", 16).masks(normal().pixels), 64, 64)
    assert first.warning == ""
    assert np.array_equal(first.mask, drawn)
    assert 0.015 < drawn.mean() < 0.9
    other = save_tiny_sam(tmp_path / "other.pth", 2)
    redrawn = find_foreground(normal(), choose_method("sam", "whole", None, [], sam.read_checkpoint(other)).method)
    assert not np.array_equal(redrawn.mask, drawn)  # another model's foreground is another
    save_tiny_sam(path, 2)
    sam._model.cache_clear()
    with pytest.raises(IntegrityError, match=r"tiny\.pth: changed"):
        find_foreground(normal(1), method)
    path.unlink()
    assert np.array_equal(find_foreground(normal(), method).mask, first.mask)
    with pytest.raises(UsageError, match=r"tiny\.pth"):  # nothing is known about another image
        find_foreground(normal(1), method)


def test_where_sam_finds_nothing_the_whole_image_is_used(tmp_path):
    model = tiny_sam()
    with torch.no_grad():
        model.mask_decoder.iou_prediction_head.layers[-1].bias.zero_()  # sure of nothing
    torch.save(model.state_dict(), tmp_path / "unsure.pth")
    found = find_foreground(normal(), Method("sam", checkpoint=sam.read_checkpoint(tmp_path / "unsure.pth")))
    assert found.mask.all()
    assert "0.png: SAM finds objects on 0.0%" in found.warning


def test_the_weights_and_not_their_place_decide_the_method(tmp_path):
    here, there, other = (save_tiny_sam(tmp_path / f"{name}.pth", seed) for name, seed in (("a", 1), ("b", 1), ("c", 2)))
    # torch writes the file's name into it
    there.write_bytes(here.read_bytes())
    identities = [Method("sam", checkpoint=sam.read_checkpoint(path)).identity for path in (here, there, other)]
    assert identities[0] == identities[1] != identities[2]
    assert Method("none").identity == "none"


# builds


@pytest.fixture
def root(tmp_path):
    return build_folder(tmp_path / "parts", 2)


def recipe(**changes):
    values = {"datasets": {"folder": {}}, "types": ["crack", "corrosion"], "size": 64, "per_image": 2, "max_rejected": 1}
    return make_recipe(values | {"foreground": "sam"} | changes)


def test_anomalies_lie_on_sams_object_and_the_digest_is_part_of_the_plan(root, checkpoint, tmp_path, monkeypatch):
    plan = make_plan(decide(recipe(), {"folder": root}, sam_checkpoint=checkpoint))
    samples = [sample for sample in SynthesisDataset(plan) if not sample.rejected]
    assert samples
    (method,) = plan.methods.values()
    for sample in samples:
        image = NormalImage("folder", "", sample.spec.source, sample.source_sha256, sample.normal)
        assert not (sample.mask & (1 - find_foreground(image, method).mask)).any()
    digest = sam.read_checkpoint(checkpoint).sha256
    assert set(json.loads(plan.config_json)["foreground_methods"].values()) == {f"sam {digest}"}
    moved = tmp_path / "moved.pth"
    moved.write_bytes(checkpoint.read_bytes())
    monkeypatch.setenv("SYNTHGEN_SAM", str(moved))
    assert make_plan(decide(recipe(), {"folder": root})).config_json == plan.config_json


def test_a_mixture_looks_at_sams_object_too(root, checkpoint):
    plan = make_plan(decide(recipe(types="auto", per_image=1), {"folder": root}, sam_checkpoint=checkpoint))
    assert {method.name for method in plan.methods.values()} == {"sam"}


def test_without_a_checkpoint_a_plan_says_where_to_get_one(root, tmp_path):
    with pytest.raises(UsageError, match=r"--sam-checkpoint.*SYNTHGEN_SAM.*sam_vit_b_01ec64"):
        make_plan(decide(recipe(), {"folder": root}))
    with pytest.raises(UsageError, match=r"no\.pth"):
        make_plan(decide(recipe(), {"folder": root}, sam_checkpoint=tmp_path / "no.pth"))


def arguments(root, out, *more):
    what = ["--types", "crack", "--per-image", 1, "--size", 64, "--max-rejected", 1]
    return ["build", "--dataset", "folder", "--root", root, *what, "--out", out, *more]


def test_a_build_with_sam_from_end_to_end(root, checkpoint, tmp_path, monkeypatch):
    more = ("--foreground", "sam", "--sam-checkpoint", checkpoint, "--jobs", 1)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    run = synthgen(*arguments(root, tmp_path / "set", *more))
    assert run.returncode == 0, run.stderr
    assert run.stderr.count("SAM runs on the CPU") == 1
    samples = ShardDataset(tmp_path / "set")
    assert len(samples) == 2
    entries = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert len(entries) == 2
    made = list(
        SynthesisDataset(make_plan(decide(recipe(types=["crack"], per_image=1), {"folder": root}, sam_checkpoint=checkpoint)))
    )
    assert all(np.array_equal(one.image, other.image) for one, other in zip(samples, made, strict=True))
    name = samples[0].spec.sample_id
    with pytest.raises(UsageError, match="--sam-checkpoint"):
        replay_from_shards(tmp_path / "set", name)
    with pytest.raises(UsageError, match="SHA-256"):
        replay_from_shards(tmp_path / "set", name, sam_checkpoint=save_tiny_sam(tmp_path / "other.pth", 2))
    assert replay_from_shards(tmp_path / "set", name, sam_checkpoint=checkpoint).same
    # another model is another configuration
    other = synthgen(*arguments(root, tmp_path / "set", *more[:2], "--sam-checkpoint", tmp_path / "other.pth"))
    assert other.returncode == 2
    assert "foreground_methods" in other.stderr


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (("--foreground", "sam"), "sam_vit_b_01ec64"),
        (("--foreground", "sam", "--sam-checkpoint", "nowhere.pth"), "nowhere.pth"),
        (("--sam-checkpoint", "some.pth"), "--foreground sam"),
    ],
)
def test_what_is_missing_is_a_usage_error(root, tmp_path, more, says):
    run = synthgen(*arguments(root, tmp_path / "set", *more))
    assert run.returncode == 2
    assert says in run.stderr.replace("\n", "")
    assert not (tmp_path / "set").exists()


def test_a_damaged_checkpoint_ends_the_build_with_its_name(root, tmp_path):
    path = damaged(tmp_path / "weights.pth", "truncated")
    dataset = SynthesisDataset(make_plan(decide(recipe(), {"folder": root}, sam_checkpoint=path)))
    with pytest.raises(IntegrityError, match=r"weights\.pth"):
        dataset[0]


def test_pictures_may_be_of_any_kind(checkpoint):
    regions = SamRegions(checkpoint, "cpu", points_per_side=2)
    for pixels in (np.zeros((64, 64, 3), np.uint8), cv2.resize(picture(0), (33, 70))):
        assert isinstance(regions.masks(pixels), list)
