"""Tiny datasets in every layout, made of seeded pictures, for everybody's tests."""

import csv
import hashlib
import io
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
from PIL import Image


def picture(seed, height=48, width=64):
    """(height, width, 3) uint8 RGB: a bright blob with texture on a darker ground, different for each seed."""
    rng = np.random.default_rng(seed)
    small = rng.integers(60, 120, (max(2, height // 8), max(2, width // 8), 3), dtype=np.uint8)
    pixels = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
    centre = (int(width * rng.uniform(0.4, 0.6)), int(height * rng.uniform(0.4, 0.6)))
    cv2.circle(pixels, centre, min(height, width) // 3, tuple(int(v) for v in rng.integers(150, 250, 3)), -1)
    return np.clip(pixels.astype(np.int16) + rng.integers(-12, 13, pixels.shape), 0, 255).astype(np.uint8)


def encoded(pixels, kind="PNG", **options):
    """The bytes of an image file."""
    stream = io.BytesIO()
    (pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)).save(stream, kind, **options)
    return stream.getvalue()


def write(path, pixels, **options):
    """Save a picture under a path whose extension says the format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kinds = {".png": "PNG", ".jpg": "JPEG", ".bmp": "BMP", ".tif": "TIFF", ".webp": "WEBP"}
    path.write_bytes(encoded(pixels, kinds[path.suffix.lower()], **options))
    return path


def _defective(folder, masks, names, mask_value=255, size=(48, 64)):
    """Images with a black rectangle, and its masks; `masks` is their folder and name, with {} for the image's."""
    for number, name in enumerate(names):
        mask = np.zeros(size, np.uint8)
        mask[10:20, 10:30] = mask_value
        pixels = picture(9000 + number, *size)
        pixels[mask > 0] = 0
        write(folder / name, pixels)
        write(masks.with_name(masks.name.format(Path(name).stem)), mask)


def build_mvtec(root, categories=("bottle", "screw"), normals=4, size=(48, 64)):
    """MVTec AD (also MPDD, MAD-Sim): train/good, test/good, test/scratch, ground_truth/scratch."""
    root = Path(root)
    for c, category in enumerate(categories):
        for i in range(normals):
            write(root / category / "train/good" / f"{i:03}.png", picture(100 * c + i, *size))
        for i in range(2):
            write(root / category / "test/good" / f"{i:03}.png", picture(5000 + 100 * c + i, *size))
        masks = root / category / "ground_truth/scratch" / "{}_mask.png"
        _defective(root / category / "test/scratch", masks, ["000.png", "001.png"], size=size)
    return root


def build_loco(root, categories=("screw_bag",), normals=4):
    """MVTec LOCO: as MVTec AD, with validation/good that belongs to no training."""
    build_mvtec(root, categories, normals)
    for category in categories:
        for i in range(3):
            write(Path(root) / category / "validation/good" / f"{i:03}.png", picture(7000 + i))
    return Path(root)


def build_btad(root, normals=3):
    """BTAD: 01 to 03 with ok and ko, whose extensions differ."""
    for category, suffix, mask_suffix in (("01", ".bmp", ".png"), ("02", ".png", ".png"), ("03", ".bmp", ".bmp")):
        folder = Path(root) / category
        for i in range(normals):
            write(folder / "train/ok" / f"{i:04}{suffix}", picture(i))
        write(folder / f"test/ok/0000{suffix}", picture(50))
        _defective(folder / "test/ko", folder / "ground_truth/ko" / f"{{}}{mask_suffix}", [f"0000{suffix}"])
    return Path(root)


def build_visa(root, categories=("candle", "pcb1"), train=3, test=2):
    """VisA as downloaded: normal images of both splits in one folder, told apart by split_csv/1cls.csv."""
    root, rows = Path(root), []
    for category in categories:
        normal = f"{category}/Data/Images/Normal"
        for i in range(train + test):
            write(root / normal / f"{i:04}.JPG", picture(i))
            rows.append((category, "test" if i < test else "train", "normal", f"{normal}/{i:04}.JPG", ""))
        images, masks = root / category / "Data/Images/Anomaly", root / category / "Data/Masks/Anomaly" / "{}.png"
        _defective(images, masks, ["000.JPG"], mask_value=3)
        rows.append(
            (category, "test", "anomaly", f"{category}/Data/Images/Anomaly/000.JPG", f"{category}/Data/Masks/Anomaly/000.png")
        )
    write_split(root / "split_csv/1cls.csv", rows)
    return root


def write_split(path, rows):
    """A split file of VisA."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows([("object", "split", "label", "image", "mask"), *rows])


def build_folder(root, normals=4, suffix=".png"):
    """A plain folder of images."""
    for i in range(normals):
        write(Path(root) / f"{i:03}{suffix}", picture(i))
    return Path(root)


def bomb_png(width=12_000, height=9_000):
    """A valid gray PNG of 108 megapixels in 0.1 MB."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">II", width, height) + bytes([8, 0, 0, 0, 0])  # 8 bits of gray
    packer = zlib.compressobj(6)
    rows = b"".join(packer.compress(bytes(width + 1)) for _ in range(height)) + packer.flush()
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def _good_files(rgb, image, ramp):
    """name -> bytes of files that must be used; the images are one picture in many guises, `ramp` is one of 16 bits."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return {
        "rgb.png": encoded(rgb),
        "UPPER.PNG": encoded(rgb),
        "photo.JPG": encoded(rgb, "JPEG"),
        "photo.jpeg": encoded(rgb, "JPEG"),
        "progressive.jpg": encoded(rgb, "JPEG", progressive=True),
        "rotated.jpg": encoded(rgb, "JPEG", exif=exif),
        "padded.jpg": encoded(rgb, "JPEG") + bytes(512),
        "really_a_png.jpg": encoded(rgb),
        "really_a_jpeg.png": encoded(rgb, "JPEG"),
        "gray.png": encoded(rgb[..., 0].copy()),
        "gray.jpg": encoded(rgb[..., 0].copy(), "JPEG"),
        "gray16.png": encoded(ramp),
        "gray16.tif": encoded(ramp, "TIFF"),
        "rgb16.png": cv2.imencode(".png", np.dstack([ramp] * 3))[1].tobytes(),
        "rgba.png": encoded(image.convert("RGBA")),
        "rgba.tif": encoded(image.convert("RGBA"), "TIFF"),
        "gray_alpha.png": encoded(image.convert("LA")),
        "palette.png": encoded(image.convert("P")),
        "one_bit.png": encoded(image.convert("1")),
        "plain.bmp": encoded(rgb, "BMP"),
        "palette.bmp": encoded(image.convert("P"), "BMP"),
        "plain.tif": encoded(rgb, "TIFF"),
        "lzw.TIFF": encoded(rgb, "TIFF", compression="tiff_lzw"),
        "big.tif": encoded(rgb, "TIFF", big_tiff=True),
        "lossy.webp": encoded(rgb, "WEBP"),
        "lossless.webp": encoded(rgb, "WEBP", lossless=True),
        "alpha.webp": encoded(image.convert("RGBA"), "WEBP"),
        "two words.png": encoded(rgb),
        "Prüfling №7 検査 🔩.png": encoded(rgb),
        "n" * 200 + ".png": encoded(rgb),
        "minimum.png": encoded(rgb[:16, :16]),
    }


def _bad_files(rgb, image):
    """name -> (bytes, reason) of files that must be rejected for that reason."""
    more = {"save_all": True, "append_images": [image.rotate(90).resize(image.size)]}
    bad = {
        "empty.png": (b"", "empty"),
        "text.png": (b"this is no image", "not-an-image"),
        "one_pixel.png": (encoded(rgb[:1, :1]), "too-small"),
        "line.png": (encoded(rgb[:1]), "too-small"),
        "cmyk.jpg": (encoded(image.convert("CMYK"), "JPEG"), "cmyk"),
        "cmyk.tif": (encoded(image.convert("CMYK"), "TIFF"), "cmyk"),
        "float.tif": (encoded(rgb[..., 0].astype(np.float32), "TIFF"), "float"),
        "int32.tif": (encoded(rgb[..., 0].astype(np.int32), "TIFF"), "unsupported"),
        "film.png": (encoded(image, **more), "animated"),
        "film.webp": (encoded(image, "WEBP", **more), "animated"),
        "pages.tif": (encoded(image, "TIFF", **more), "animated"),
        "film.gif": (encoded(image.convert("P"), "GIF"), "not-an-image"),
        "bomb.png": (bomb_png(), "too-large"),
    }
    for name, kind in (("png", "PNG"), ("jpg", "JPEG"), ("bmp", "BMP"), ("tif", "TIFF"), ("webp", "WEBP")):
        whole = encoded(rgb, kind)
        for share in (0.05, 0.3, 0.6, 0.9):
            bad[f"cut{share}.{name}"] = (whole[: int(len(whole) * share)], "truncated|damaged")
        bad[f"cut_last_byte.{name}"] = (whole[:-1], "truncated")
    return bad


NO_IMAGES = (".hidden.png", "Thumbs.db", "desktop.ini", "notes.txt", "list.csv", "meta.json", "._rgb.png")
"""Files beside images that nobody means."""


def build_zoo(folder):
    """Files of every kind that people have; returns name -> reason it must be rejected for, None where it must be used."""
    folder = Path(folder)
    (folder / ".ipynb_checkpoints").mkdir(parents=True)
    rgb = picture(1)
    image = Image.fromarray(rgb)
    good = _good_files(rgb, image, np.linspace(0, 65535, rgb[..., 0].size).reshape(rgb.shape[:2]).astype(np.uint16))
    bad = _bad_files(rgb, image)
    none = dict.fromkeys(NO_IMAGES, b"none of your business") | {".ipynb_checkpoints/rgb-checkpoint.png": good["rgb.png"]}
    for name, data in (good | {name: data for name, (data, _) in bad.items()} | none).items():
        (folder / name).write_bytes(data)
    (folder / "folder.png").mkdir()
    (folder / "broken_link.png").symlink_to(folder / "nowhere.png")
    (folder / "link.png").symlink_to(folder / "rgb.png")
    more = {"folder.png": "not-a-file", "broken_link.png": "broken-link", "link.png": None}
    return dict.fromkeys(good) | {name: reason for name, (_, reason) in bad.items()} | more


def snapshot(root):
    """What a folder holds: path -> (time of change, digest), to see whether anything wrote into it."""
    return {
        path.relative_to(root).as_posix(): (
            path.lstat().st_mtime_ns,
            hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None,
        )
        for path in sorted(Path(root).rglob("*"))
    }
