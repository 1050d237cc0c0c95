"""Where the object is: by a network, by files of the user, by the vote of a category; and the cache behind it."""

import hashlib
import os
import struct
import zlib
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthgen import cache as shared_cache
from synthgen import foreground
from synthgen.errors import InputDataError, UsageError
from synthgen.foreground import Foreground, Method, cache, check_mode, choose_method, find_foreground, masks, outline
from synthgen.samples import NormalImage
from tests.support.builders import bomb_png, write
from tests.support.surfaces import SURFACES, disc, stable, texture


@pytest.fixture(autouse=True)
def _empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SYNTHGEN_CACHE", str(tmp_path / "cache"))


def normal(pixels, source="part/train/000.png"):
    return NormalImage("folder", "part", source, hashlib.sha256(pixels.tobytes()).hexdigest(), pixels)


def product(shape, ground=60, part=170, grain=3, seed=0):
    """A part on a plain ground with some noise."""
    rng = np.random.default_rng(seed)
    pixels = np.where(shape[..., None] > 0, part, ground).astype(float) + rng.normal(0, grain, (*shape.shape, 3))
    return np.clip(pixels, 0, 255).astype(np.uint8)


def overlap(one, other):
    return (one & other).sum() / (one | other).sum()


def shapes(height, width):
    box = np.zeros((height, width), np.uint8)
    box[height // 5 : -height // 4, width // 6 : -width // 5] = 1
    ring = disc(height, width, min(height, width) * 0.4)
    two = disc(height, width, min(height, width) / 6, (height // 3, width // 3))
    return {"disc": disc(height, width), "box": box, "large disc": ring, "two": two | two[::-1, ::-1]}


@pytest.mark.parametrize("size", [(256, 256), (300, 211), (512, 640)])
@pytest.mark.parametrize("shape", ["disc", "box", "large disc", "two"])
@pytest.mark.parametrize(("ground", "part"), [(60, 170), (230, 90), (0, 60)])
def test_an_object_on_a_plain_ground_is_found(size, shape, ground, part):
    truth = shapes(*size)[shape]
    found = find_foreground(normal(product(truth, ground, part)), Method("object"))
    assert found.warning == ""
    assert (found.mask.shape, found.mask.dtype) == (size, np.uint8)
    assert overlap(found.mask, truth) > 0.9


def test_a_hue_alone_is_enough_and_the_ground_may_have_two_colours():
    truth = disc(256, 256)
    green = np.where(truth[..., None] > 0, (60, 160, 60), (160, 90, 130)).astype(np.uint8)
    assert overlap(find_foreground(normal(green), Method("object")).mask, truth) > 0.9
    halves = np.where(np.arange(256)[:, None] < 128, 40, 90) * np.ones((256, 256), int)
    tray = np.where(truth > 0, 220, halves).astype(np.uint8)
    assert overlap(find_foreground(normal(np.dstack([tray] * 3)), Method("object")).mask, truth) > 0.9


@pytest.mark.parametrize("size", [(128, 160), (512, 512)])
@pytest.mark.parametrize("off", [-1, 1])
@pytest.mark.parametrize(("ground", "part"), [((230, 230, 225), (40, 30, 60)), ((70, 90, 60), (110, 90, 60))])
def test_an_outline_a_few_pixels_off_is_moved_to_the_middle_of_the_soft_edge(size, off, ground, part):
    truth = shapes(*size)["two"]
    share = cv2.GaussianBlur(truth.astype(np.float32), (0, 0), 1.5)[..., None]
    pixels = np.rint(share * part + (1 - share) * ground).astype(np.uint8)
    side = 2 * max(min(size) // 128, 1) + 1
    coarse = (cv2.dilate if off > 0 else cv2.erode)(truth, np.ones((side, side), np.uint8))
    moved = outline.follow_edge(coarse, pixels)
    wrong = cv2.distanceTransform(1 - (cv2.morphologyEx(truth, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))), cv2.DIST_L2, 3)
    assert (coarse != truth).sum() > 4 * (moved != truth).sum()
    assert wrong[moved != truth].max(initial=0) <= 1


def test_an_outline_stays_where_the_sides_look_alike_or_the_object_is_thin():
    coarse = disc(256, 256)
    assert (outline.follow_edge(coarse, np.full((256, 256, 3), 90, np.uint8)) == coarse).all()
    everything = np.ones((64, 64), np.uint8)
    assert outline.follow_edge(everything, texture("noise", 64, 64)).all()
    wire = np.zeros((512, 512), np.uint8)
    wire[254:259, 40:470] = 1
    found = outline.follow_edge(wire | disc(512, 512, 90), product(wire | disc(512, 512, 90)))
    assert found[254:259, 40:470].mean() > 0.9


def test_dirt_beside_the_outline_is_not_the_object():
    truth, dirt = disc(512, 512, 150), disc(512, 512, 2, (256, 414))
    found = outline.follow_edge(disc(512, 512, 154), product(truth | dirt, grain=1))
    assert not found[dirt > 0].any()
    assert overlap(found, truth) > 0.99


@stable(30)
@given(st.sampled_from(SURFACES[1:]), st.integers(16, 200), st.integers(16, 200), st.integers(0, 99))
def test_a_texture_is_the_whole_image_with_the_reason(kind, height, width, seed):
    found = find_foreground(normal(texture(kind, height, width, seed)), Method("object"))
    assert set(np.unique(found.mask)) <= {0, 1}
    assert found.mask.shape == (height, width)
    assert found.mask.any()
    if kind in ("noise", "gray noise", "black", "white", "constant"):
        assert found.mask.all()
        assert "part/train/000.png: " in found.warning


def test_a_foreground_is_never_empty_at_any_size():
    wire = texture("gray", 256, 256)
    wire[:] = 230
    wire[88:96, 28:228] = 40
    for side in (16, 24, 32, 48, 64):
        small = cv2.resize(wire, (side, side), interpolation=cv2.INTER_AREA)
        assert find_foreground(normal(small), Method("object")).mask.any()


@pytest.mark.parametrize(
    ("likely", "why"),
    [
        (np.zeros((128, 128)), "nothing stands out"),
        (np.ones((128, 128)), "filled by one surface"),
        (0.45 + 0.1 * disc(128, 128, 30), "not clear where the object ends"),
        (np.tile(np.pad(np.ones((4, 4)), 2), (16, 16)), "many small pieces"),
    ],
)
def test_what_cannot_be_trusted_is_the_whole_image(likely, why, monkeypatch):
    monkeypatch.setattr(outline, "probability", lambda _: likely.astype(np.float32))
    found = find_foreground(normal(texture("photo", 100, 90)), Method("object"))
    assert found.mask.all()
    assert why in found.warning


def test_a_category_is_judged_by_most_of_its_images():
    objects = [normal(product(disc(128, 128), seed=seed)) for seed in range(3)]
    textures = [normal(texture("noise", 128, 128, seed)) for seed in range(3)]
    for images, name in (
        (objects + textures[:2], "object"),
        (objects[:2] + textures, "none"),
        (objects[:1] + textures[:1], "none"),
    ):
        assert choose_method("auto", "auto", None, images).method.name == name
    assert choose_method("auto", "auto", None, []).why == "there is no image to look at"


def test_the_method_follows_mode_hint_and_masks(tmp_path):
    objects = [normal(product(disc(128, 128)))]
    textures = [normal(texture("noise", 128, 128))]

    def name(*arguments):
        return choose_method(*arguments).method.name

    assert name("auto", "auto", None, objects) == "object"
    assert name("auto", "auto", None, textures) == "none"
    assert name("auto", "whole", None, objects) == "none"
    assert name("object", "whole", None, textures) == "object"
    assert name("none", "auto", None, objects) == "none"
    assert choose_method("none", "whole", tmp_path, textures).method == Method("masks", tmp_path)
    with pytest.raises(UsageError, match="Did you mean 'object'"):
        check_mode("objekt")
    assert [check_mode(mode) for mode in foreground.MODES] == [None] * len(foreground.MODES)


def test_a_choice_says_what_and_why():
    choice = choose_method("auto", "auto", None, [normal(product(disc(128, 128, 32)))])
    assert choice.sentence() == f"the object, {100 * choice.method.share:.2g} % of the image"
    assert choice.method.share == pytest.approx(np.pi / 16, rel=0.1)
    assert "filled by one surface" in choose_method("auto", "auto", None, [normal(texture("noise", 128, 128))]).sentence()
    assert "known of this category" in choose_method("auto", "whole", None, []).sentence()
    assert choose_method("none", "auto", None, []).sentence() == "the whole image"


@pytest.mark.parametrize(
    ("radius", "usual", "told"), [(30, 0.17, ""), (60, 0.04, "usual one is 4 %"), (24, 0.5, "usual one is 50 %")]
)
def test_a_foreground_unlike_its_categorys_is_warned_of(radius, usual, told):
    found = find_foreground(normal(product(disc(128, 128, radius))), Method("object", share=usual))
    assert told in found.warning
    assert bool(told) == bool(found.warning)
    assert not found.mask.all()


def test_no_method_is_the_whole_image_without_a_warning():
    found = find_foreground(normal(texture("photo", 40, 30)), Method("none"))
    assert isinstance(found, Foreground)
    assert found.warning == ""
    assert found.mask.all()
    assert found.mask.shape == (40, 30)


# masks of the user


@pytest.mark.parametrize("values", [(0, 1), (0, 255), (0, 200), (20, 255)])
@pytest.mark.parametrize("size", [(64, 64), (128, 128), (200, 90), (31, 57)])
def test_masks_may_be_of_any_size_and_hold_0_and_1_or_0_and_255(tmp_path, values, size):
    truth = disc(*size, 0.4 * min(size))
    write(tmp_path / "000.png", np.where(truth > 0, values[1], values[0]).astype(np.uint8))
    found = find_foreground(normal(texture("photo", 64, 64)), Method("masks", tmp_path))
    assert found.warning == ""
    assert set(np.unique(found.mask)) == {0, 1}
    expected = cv2.resize(truth.astype(np.float32), (64, 64), interpolation=cv2.INTER_AREA) >= 0.5
    assert overlap(found.mask, expected.astype(np.uint8)) > 0.97


@pytest.mark.parametrize(
    "place", ["part/train/000.png", "part/train/000_mask.png", "part/000.bmp", "part/000_mask.tif", "000.jpg", "000_mask.PNG"]
)
def test_masks_are_found_where_people_put_them(tmp_path, place):
    write(tmp_path / place, disc(64, 64) * np.uint8(255))
    found = masks.read(tmp_path, normal(texture("photo", 64, 64)), (64, 64))
    assert found is not None
    assert overlap(found, disc(64, 64)) > 0.95


def test_the_mask_in_the_nearer_folder_wins(tmp_path):
    write(tmp_path / "part/000.png", disc(64, 64) * np.uint8(255))
    write(tmp_path / "000.png", (1 - disc(64, 64)) * np.uint8(255))
    assert masks.read(tmp_path, normal(texture("photo", 64, 64)), (64, 64))[32, 32] == 1


def test_a_missing_or_empty_mask_is_the_whole_image_with_a_warning(tmp_path):
    image = normal(texture("photo", 64, 64))
    missing = find_foreground(image, Method("masks", tmp_path))
    write(tmp_path / "000.png", np.zeros((64, 64), np.uint8))
    empty = find_foreground(image, Method("masks", tmp_path))
    assert "part/train/000.png: no mask file" in missing.warning
    assert "part/train/000.png: empty mask file" in empty.warning
    assert missing.mask.all()
    assert empty.mask.all()


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n"])
def test_a_broken_mask_file_is_named(tmp_path, content):
    (tmp_path / "000.png").write_bytes(content)
    with pytest.raises(InputDataError, match=r"000\.png"):
        find_foreground(normal(texture("photo", 64, 64)), Method("masks", tmp_path))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_mask_file_is_named(tmp_path):
    write(tmp_path / "000.png", disc(64, 64)).chmod(0)
    with pytest.raises(InputDataError, match=r"000\.png: cannot be read"):
        find_foreground(normal(texture("photo", 64, 64)), Method("masks", tmp_path))


def test_a_mask_that_is_a_bomb_is_named(tmp_path):
    data = bytearray(bomb_png(16, 16))
    data[16:24] = struct.pack(">II", 40_000, 30_000)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    (tmp_path / "000.png").write_bytes(data)
    with pytest.raises(InputDataError, match=r"000\.png"):
        find_foreground(normal(texture("photo", 64, 64)), Method("masks", tmp_path))


def test_a_mask_of_16_bits_may_hold_0_and_1_too(tmp_path):
    (tmp_path / "000.png").write_bytes(cv2.imencode(".png", disc(64, 64).astype(np.uint16))[1].tobytes())
    assert find_foreground(normal(texture("photo", 64, 64)), Method("masks", tmp_path)).warning == ""


# the cache


def entries(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def test_the_second_call_reads_the_first_ones_answer(tmp_path, monkeypatch):
    image = normal(product(disc(128, 150)[:, :128]))
    first = find_foreground(image, Method("object"))
    assert len(entries(tmp_path / "cache")) == 1
    monkeypatch.setattr(outline, "find_object", lambda _: pytest.fail("asked twice"))
    second = find_foreground(image, Method("object"))
    assert np.array_equal(first.mask, second.mask)
    assert first.warning == second.warning


@stable(25)
@given(st.integers(1, 90), st.integers(1, 90), st.text(max_size=20), st.integers(0, 999))
def test_an_entry_holds_any_mask_and_any_doubt(tmp_path_factory, height, width, doubt, seed):
    image = normal(texture("noise", height, width, seed))
    mask = (np.random.default_rng(seed).random((height, width)) < 0.5).astype(np.uint8)
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SYNTHGEN_CACHE", str(folder))
        cache.remember(image, "key", lambda _: (mask, doubt))
        again, same = cache.remember(image, "key", lambda _: pytest.fail("asked twice"))
        other, _ = cache.remember(image, "other", lambda _: (1 - mask, ""))
    assert np.array_equal(again, mask)
    assert same == doubt
    assert np.array_equal(other, 1 - mask)


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "folder"])
def test_a_damaged_entry_is_worked_out_again(tmp_path, damage):
    image = normal(product(disc(128, 128)))
    first = find_foreground(image, Method("object"))
    (entry,) = entries(tmp_path / "cache")
    data = bytearray(entry.read_bytes())
    data[len(data) // 2] ^= 255
    entry.unlink()
    if damage == "folder":
        entry.mkdir()
    else:
        entry.write_bytes({"flip": bytes(data), "cut": data[:-9], "empty": b""}[damage])
    again = find_foreground(image, Method("object"))
    assert np.array_equal(first.mask, again.mask)
    assert again.warning == first.warning


@pytest.mark.parametrize("digest", ["", "../../elsewhere", "/precious.png", "ab", "G" * 64])
def test_only_a_proper_hash_names_an_entry(tmp_path, digest):
    """Any other text could name a file anywhere, which the entry would replace."""
    image = replace(normal(product(disc(128, 128))), sha256=digest.replace("/precious", f"{tmp_path}/precious"))
    (tmp_path / "precious.png").write_text("precious")
    assert overlap(find_foreground(image, Method("object")).mask, disc(128, 128)) > 0.9
    assert (tmp_path / "precious.png").read_text() == "precious"
    assert entries(tmp_path) == [tmp_path / "precious.png"]


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("SYNTHGEN_CACHE", str(tmp_path / "file"))
    image = normal(product(disc(128, 128)))
    assert overlap(find_foreground(image, Method("object")).mask, disc(128, 128)) > 0.9
    assert (tmp_path / "file").read_text() == "in the way"


def test_the_cache_lies_where_the_environment_says(tmp_path, monkeypatch):
    assert shared_cache.folder() == tmp_path / "cache"
    monkeypatch.delenv("SYNTHGEN_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert shared_cache.folder() == tmp_path / "xdg" / "synthgen"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert shared_cache.folder() == tmp_path / ".cache" / "synthgen"
