"""From bytes to pixels: nothing is lost, nothing is invented, and nothing hostile is decoded."""

import hashlib
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from synthgen.datasets.headers import UnusableImageError, check_bytes, check_file
from synthgen.datasets.images import decode, read_image, resize
from synthgen.errors import InputDataError
from tests.support import builders

KINDS = {"PNG": {}, "JPEG": {"quality": 95}, "BMP": {}, "TIFF": {}, "WEBP": {"lossless": True}}
RAMP = np.linspace(0, 65535, 256 * 32).round().astype(np.uint16).reshape(32, 256)


def psnr(a, b):
    return 10 * np.log10(255**2 / max(1e-9, np.mean((a.astype(float) - b.astype(float)) ** 2)))


# ---- decoding


@pytest.mark.parametrize("kind", KINDS)
def test_colours_come_in_rgb_order(kind):
    pixels = builders.picture(3)
    decoded = decode(builders.encoded(pixels, kind, **KINDS[kind]))
    assert decoded.dtype == np.uint8
    if kind == "JPEG":
        assert psnr(decoded, pixels) > 25
    else:
        assert np.array_equal(decoded, pixels)


@pytest.mark.parametrize("extension", [".png", ".tif"])
@pytest.mark.parametrize("channels", [1, 3])
def test_16_bits_are_scaled_not_saturated(extension, channels):
    deep = RAMP if channels == 1 else np.dstack([RAMP] * 3)
    decoded = decode(cv2.imencode(extension, deep)[1].tobytes())
    assert np.array_equal(decoded[..., 0], np.rint(RAMP / 257).astype(np.uint8))
    assert (decoded == 255).mean() < 0.01
    assert len(np.unique(decoded)) == 256


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_gray_palette_and_alpha(kind):
    pixels = builders.picture(4)
    image = Image.fromarray(pixels)
    gray = np.asarray(image.convert("L"))
    assert np.array_equal(decode(builders.encoded(gray.copy(), kind)), np.dstack([gray] * 3))
    palette = image.convert("P")
    assert np.array_equal(decode(builders.encoded(palette, kind)), np.asarray(palette.convert("RGB")))
    transparent = image.convert("RGBA")
    transparent.putalpha(60)
    assert np.array_equal(decode(builders.encoded(transparent, kind)), pixels)  # dropped, neither blended nor multiplied
    bits = decode(builders.encoded(image.convert("1"), kind))
    assert set(np.unique(bits)) == {0, 255}


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied(kind, orientation):
    pixels = np.zeros((32, 48, 3), np.uint8)
    pixels[:16, :24], pixels[:16, 24:], pixels[16:, :24] = (250, 0, 0), (0, 250, 0), (0, 0, 250)
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = KINDS[kind] | {"exif": exif}
    turns = {1: pixels, 2: pixels[:, ::-1], 3: pixels[::-1, ::-1], 4: pixels[::-1], 5: pixels.transpose(1, 0, 2)}
    turns[6] = np.rot90(pixels, -1)
    turns[7] = pixels[::-1, ::-1].transpose(1, 0, 2)
    turns[8] = np.rot90(pixels)
    decoded = decode(builders.encoded(pixels, kind, **options))
    assert decoded.shape == turns[orientation].shape
    assert psnr(decoded, turns[orientation]) > 25
    transparent = Image.fromarray(pixels).convert("RGBA")
    if kind == "TIFF":
        assert np.array_equal(decode(builders.encoded(transparent, kind, exif=exif)), turns[orientation])


def test_read_image_hashes_the_file_and_takes_any_path(tmp_path):
    path = builders.write(tmp_path / "Prüf ling" / "検査 1.png", builders.picture(1))
    pixels, sha256 = read_image(path, (48, 64))
    assert np.array_equal(pixels, builders.picture(1))
    assert sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


# ---- damage


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("progressive", [False, True])
def test_every_truncation_is_refused(kind, progressive):
    exif = Image.Exif()
    exif[0x010E] = "a description"
    options = KINDS[kind] | ({"progressive": progressive, "exif": exif} if kind == "JPEG" else {})
    whole = builders.encoded(builders.picture(2, 64, 64), kind, **options)
    for length in range(0, len(whole), max(1, len(whole) // 60)):
        with pytest.raises(UnusableImageError):
            check_bytes(whole[:length])
    with pytest.raises(UnusableImageError, match="truncated"):
        check_bytes(whole[:-1])


def test_the_end_marker_of_a_preview_does_not_count():
    preview = builders.encoded(builders.picture(1, 32, 32), "JPEG")
    application = b"\xff\xed" + struct.pack(">H", len(preview) + 2) + preview
    whole = builders.encoded(builders.picture(2, 64, 64), "JPEG")
    whole = whole[:2] + application + whole[2:]
    assert decode(whole).shape == (64, 64, 3)
    with pytest.raises(UnusableImageError, match="truncated"):
        check_bytes(whole[:-500])


@pytest.mark.parametrize("length", [3000, 30_000, 300_000])
def test_truncation_of_long_files(length):
    noise = np.random.default_rng(0).integers(0, 256, (400, 400, 3), dtype=np.uint8)
    for kind, options in KINDS.items():
        whole = builders.encoded(noise, kind, **options)
        if length < len(whole):
            with pytest.raises(UnusableImageError, match=r"truncated|damaged"):
                check_bytes(whole[:length])


@settings(max_examples=150, deadline=None)
@given(kind=st.sampled_from(sorted(KINDS)), seed=st.integers(0, 10**6), where=st.floats(0, 1), header=st.booleans())
def test_mutations_are_used_or_refused_never_a_crash(kind, seed, where, header):
    rng = np.random.default_rng(seed)
    data = bytearray(builders.encoded(builders.picture(5, 32, 32), kind, **KINDS[kind]))
    start = int((min(200, len(data)) if header else len(data)) * where * 0.95)
    stop = min(len(data), start + int(rng.integers(1, 8)))
    data[start:stop] = rng.bytes(stop - start)
    try:
        decoded = decode(bytes(data))
    except UnusableImageError as error:
        refused = error
    else:
        assert decoded.dtype == np.uint8
        assert decoded.ndim == 3
        assert min(decoded.shape[:2]) >= 16
        return
    assert refused.reason
    assert refused.detail


def bombs():
    """Files whose headers announce far more pixels than memory."""
    yield "png", builders.bomb_png()
    png = bytearray(builders.encoded(builders.picture(1)))
    png[16:24] = struct.pack(">II", 40_000, 40_000)
    png[29:33] = struct.pack(">I", zlib.crc32(png[12:29]))
    yield "png_header", bytes(png)
    jpeg = bytearray(builders.encoded(builders.picture(1), "JPEG"))
    frame = jpeg.index(b"\xff\xc0")
    jpeg[frame + 5 : frame + 9] = struct.pack(">HH", 65_000, 65_000)
    yield "jpeg", bytes(jpeg)
    bmp = bytearray(builders.encoded(builders.picture(1), "BMP"))
    bmp[18:26] = struct.pack("<ii", 40_000, 40_000)
    yield "bmp", bytes(bmp)
    tiff = bytearray(builders.encoded(builders.picture(1), "TIFF"))
    for tag in (256, 257):
        place = tiff.index(struct.pack("<H", tag), 8)
        tiff[place : place + 12] = struct.pack("<HHII", tag, 4, 1, 40_000)
    yield "tiff", bytes(tiff)
    webp = b"WEBPVP8X" + struct.pack("<II", 10, 0) + b"\xff\x3e\x00" * 2 + b"VP8 " + bytes(32)
    yield "webp", b"RIFF" + struct.pack("<I", len(webp)) + webp


MEASURE = """
import resource, sys, time
from pathlib import Path
import cv2
from synthgen.datasets.headers import check_file
from synthgen.datasets.images import read_image
from synthgen.errors import InputDataError
check_file(Path(sys.argv[1]))
before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
for name in sys.argv[2:]:
    try:
        read_image(Path(name), (64, 64))
        print(name, "was used")
    except InputDataError as error:
        print(error)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, time.perf_counter() - start)
"""


def greedy_chunk():
    """A PNG whose pixels announce 2 GB in a file of 3 kB."""
    data = bytearray(builders.encoded(builders.picture(1)))
    pixels = data.index(b"IDAT")
    data[pixels - 4 : pixels] = struct.pack(">I", 2**31 - 100)
    return bytes(data)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="ru_maxrss is in KiB on Linux")
def test_bombs_are_refused_from_their_header(tmp_path):
    good = builders.write(tmp_path / "good.png", builders.picture(1))
    files = []
    for name, data in bombs():
        files.append(tmp_path / f"{name}.png")
        files[-1].write_bytes(data)
        with pytest.raises(UnusableImageError, match="too-large"):
            check_file(files[-1])
    files.append(tmp_path / "chunk.png")
    files[-1].write_bytes(greedy_chunk())
    command = [sys.executable, "-c", MEASURE, str(good), *map(str, files)]
    run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    *lines, last = run.stdout.splitlines()
    growth, seconds = map(float, last.split())
    assert len(lines) == len(files)
    assert all("too-large" in line for line in lines[:-1]), lines
    assert "chunk.png: damaged" in lines[-1]
    assert growth < 100_000, f"{growth} KiB"
    assert seconds < 1


# ---- resizing


def photograph(name="gravel.png"):
    import skimage.data

    return cv2.imread(str(Path(skimage.data.__file__).parent / name))


@given(
    h=st.integers(16, 90), w=st.integers(16, 90), height=st.integers(16, 90), width=st.integers(16, 90), seed=st.integers(0, 99)
)
@settings(max_examples=60, deadline=None)
def test_resize_gives_the_size_and_keeps_even_pictures_even(h, w, height, width, seed):
    colour = np.random.default_rng(seed).integers(0, 256, 3, dtype=np.uint8)
    even = np.broadcast_to(colour, (h, w, 3)).copy()
    resized = resize(even, (height, width))
    assert resized.shape == (height, width, 3)
    assert resized.flags.c_contiguous
    assert np.abs(resized.astype(int) - colour).max() <= 1


@pytest.mark.parametrize("size", [(512, 512), (700, 700), (900, 900), (1023, 1024), (1024, 1024), (1000, 1500), (512, 900)])
def test_shrinking_is_area_averaging(size):
    big = np.tile(np.vstack([np.hstack([photograph(), photograph("brick.png")])] * 2), (1, 2, 1))[: size[0], : size[1]]
    reference = cv2.resize(big, (512, 512), interpolation=cv2.INTER_AREA)
    assert psnr(resize(big, (512, 512)), reference) > 40


def test_stripes_finer_than_a_pixel_become_gray_in_either_direction():
    stripes = np.zeros((64, 1000, 3), np.uint8)
    stripes[:, ::2] = 255
    # across the stripes it shrinks while along them it grows: no filter of OpenCV does both without moiré
    for pixels, size in ((stripes, (128, 500)), (stripes.transpose(1, 0, 2).copy(), (500, 128)), (stripes, (64, 333))):
        resized = resize(pixels, size).astype(int)
        assert np.abs(resized - 127).max() < 60, size
        assert np.abs(resized.mean() - 127) < 2


def test_enlarging_is_nearer_to_the_truth_than_linear():
    truth = photograph()
    small = cv2.resize(truth, (320, 320), interpolation=cv2.INTER_AREA)
    linear = cv2.resize(small, (512, 512), interpolation=cv2.INTER_LINEAR)
    assert psnr(resize(small, (512, 512)), truth) > psnr(linear, truth) + 1


@pytest.mark.parametrize("size", [(900, 900), (320, 320), (400, 900), (1000, 1500), (1024, 1024)])
def test_resize_does_not_depend_on_threads(size):
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    before, results = cv2.getNumThreads(), set()
    try:
        for threads in (1, 2, 7):
            cv2.setNumThreads(threads)
            results.add(resize(pixels, (512, 512)).tobytes())
    finally:
        cv2.setNumThreads(before)
    assert len(results) == 1


@pytest.mark.realdata
def test_real_pictures_survive(tmp_path):
    data = os.environ.get("SYNTHGEN_TEST_DATA")
    if not data:
        pytest.skip("SYNTHGEN_TEST_DATA is not set")
    path = sorted((Path(data) / "mvtec/bottle/train/good").iterdir())[0]
    pixels, _ = read_image(path, (320, 320))
    assert np.array_equal(pixels, np.asarray(Image.open(path).convert("RGB")))
    whole = path.read_bytes()
    cut = tmp_path / "cut.png"
    cut.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputDataError, match="truncated"):
        read_image(cut, (320, 320))
