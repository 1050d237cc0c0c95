"""Can a file be used as an image? Answered from its header and its last bytes, without decoding a pixel.

A hostile or damaged file is refused here, before a decoder would fill the memory with it.
"""

import io
import stat
import struct
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from PIL import Image, UnidentifiedImageError

MIN_SIDE = 16
"""Smallest width and height of a usable image, in pixels."""
MAX_PIXELS = 100_000_000
"""Largest usable image: 100 megapixels decode to 300 MB."""

_TAIL = 4096  # how far before a file's end its end marker may be: some writers pad or append a note
_PNG_END = b"IEND\xaeB`\x82"
_JPEG_END = b"\xff\xd9"
_MAGIC = {b"\x89PNG": "PNG", b"\xff\xd8\xff": "JPEG", b"BM": "BMP"} | dict.fromkeys(
    (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), "TIFF"
)
_MODES = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "I;16", "I;16B"}


class UnusableImageError(Exception):
    """A file that cannot be used as an image.

    Attributes:
        reason: short code, see `RejectedFile`.
        detail: one sentence for a person.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Header:
    """What the header of a usable image says.

    Attributes:
        kind: `"PNG"`, `"JPEG"`, `"BMP"`, `"TIFF"` or `"WEBP"`.
        mode: what a pixel is, in Pillow's words, such as `"RGBA"`; `"RGB"` for any WebP.
    """

    kind: str
    mode: str


def check_file(path: Path) -> Header:
    """Check that a file is an image that can be decoded to RGB.

    Raises:
        UnusableImageError: it is not.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise UnusableImageError("not-a-file", "a folder or a device, not a file")
        with path.open("rb") as stream:
            return check_stream(stream, status.st_size)
    except FileNotFoundError as error:
        if path.is_symlink():
            raise UnusableImageError("broken-link", f"a link to {str(path.readlink())!r}, which is not there") from error
        raise UnusableImageError("missing", "the file is not there") from error
    except OSError as error:
        raise UnusableImageError("unreadable", error.strerror or str(error)) from error


def check_bytes(data: bytes) -> Header:
    """Check that a file's content can be decoded to RGB, with what only the whole content tells.

    Raises:
        UnusableImageError: it cannot.
    """
    header = check_stream(io.BytesIO(data), len(data))
    if header.kind == "PNG":
        _check_chunks(data)
    return header


def check_stream(stream: IO[bytes], length: int) -> Header:
    """Check an image of `length` bytes at the start of a seekable stream.

    Raises:
        UnusableImageError: it cannot be used.
        OSError: the stream cannot be read.
    """
    head = stream.read(32)
    if not length:
        raise UnusableImageError("empty", "the file has no content")
    stream.seek(max(0, length - _TAIL))
    tail = stream.read(_TAIL)
    stream.seek(0)
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        _check_webp(head, length)
        return Header("WEBP", "RGB")
    kind = next((kind for magic, kind in _MAGIC.items() if head.startswith(magic)), None)
    if kind is None:
        raise UnusableImageError("not-an-image", "its content is none of PNG, JPEG, BMP, TIFF, WebP")
    if kind == "PNG" and _PNG_END not in tail:
        raise UnusableImageError("truncated", "the PNG file has no end chunk")
    mode = _check_with_pillow(stream, kind, length)
    # a preview in the header has an end marker of its own: look behind the place where Pillow stopped reading
    if kind == "JPEG" and _JPEG_END not in tail[max(0, stream.tell() - max(0, length - _TAIL)) :]:
        raise UnusableImageError("truncated", "the JPEG file has no end marker")
    return Header(kind, mode)


def _check_with_pillow(stream: IO[bytes], kind: str, length: int) -> str:
    """Check what Pillow reads from a header; returns its word for the pixels."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about large images and odd metadata: judged below, or of no concern
        try:
            image = Image.open(stream, formats=[kind])
        except Image.DecompressionBombError as error:
            raise UnusableImageError("too-large", f"more than {MAX_PIXELS:,} pixels") from error
        except UnidentifiedImageError as error:
            raise UnusableImageError("damaged", f"the header of the {kind} file cannot be understood") from error
        except Exception as error:  # Pillow lets through whatever a malformed header makes its parsers raise
            raise UnusableImageError("damaged", f"the header of the {kind} file is malformed ({error})") from error
        _check_size(*image.size)
        _check_mode(image.mode, kind)
        try:
            _check_completeness(image, kind, length)
            frames = _frames(image, kind)
        except (ValueError, TypeError, KeyError, IndexError, SyntaxError, struct.error, OSError) as error:
            raise UnusableImageError("damaged", f"the {kind} file is malformed ({error})") from error
    if frames > 1:
        raise UnusableImageError("animated", "more than one picture in the file")
    return image.mode


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise UnusableImageError("too-large", f"{width}x{height} is more than {MAX_PIXELS:,} pixels")
    if min(width, height) < MIN_SIDE:
        raise UnusableImageError("too-small", f"{width}x{height}, but {MIN_SIDE} pixels a side are needed")


def _check_mode(mode: str, kind: str) -> None:
    if mode == "CMYK":
        raise UnusableImageError("cmyk", "colours for print (CMYK): convert the image to RGB")
    if mode == "F":
        raise UnusableImageError("float", "floating point pixels, whose range is unknown: convert the image to 8 or 16 bits")
    # older Pillow calls a 16-bit gray PNG "I"; in a TIFF the same word means 32 bits
    if mode not in _MODES and not (mode == "I" and kind == "PNG"):
        raise UnusableImageError("unsupported", f"pixels of kind {mode}: convert the image to 8 or 16 bits, gray or RGB")


def _check_completeness(image: Image.Image, kind: str, length: int) -> None:
    """Compare what the header announces with the file's length."""
    end = 0
    if kind == "TIFF":
        tags = image.tag_v2  # type: ignore[attr-defined]
        starts = tags.get(273) or tags.get(324) or ()  # strips or tiles
        sizes = tags.get(279) or tags.get(325) or ()
        if not starts or len(starts) != len(sizes):
            raise UnusableImageError("damaged", "the TIFF file does not say where its pixels are")
        end = max(start + size for start, size in zip(starts, sizes, strict=True))
    elif kind == "BMP":
        decoder, _, offset, arguments = image.tile[0]  # type: ignore[attr-defined]
        stride = arguments[1] if decoder == "raw" and isinstance(arguments, tuple) else 0
        end = offset + stride * image.size[1]
    if end > length:
        raise UnusableImageError("truncated", f"the {kind} file ends after {length} of {end} bytes")


def _frames(image: Image.Image, kind: str) -> int:
    if kind == "TIFF":  # not n_frames: it would walk through all of a long file
        try:
            image.seek(1)
        except EOFError:
            return 1
        return 2
    # a JPEG with a preview behind it (MPO) is one picture to everybody else
    return int(getattr(image, "n_frames", 1)) if kind == "PNG" else 1


def _check_chunks(data: bytes) -> None:
    """Walk a PNG's chunks: OpenCV reserves the memory that a chunk announces before it looks whether the file is that long."""
    offset, name = 8, b""
    while name != b"IEND":
        length, name = int.from_bytes(data[offset : offset + 4], "big"), data[offset + 4 : offset + 8]
        offset += length + 12
        if offset > len(data):
            raise UnusableImageError("damaged", f"a chunk of the PNG file announces {length} bytes, more than there are")


def _check_webp(head: bytes, length: int) -> None:
    """Check a WebP file by hand: Pillow would read it whole and allocate its canvas."""
    kind, end = head[12:16], int.from_bytes(head[4:8], "little") + 8
    if end > length or len(head) < 30:
        raise UnusableImageError("truncated", f"the WebP file ends after {length} of {end} bytes")
    if kind == b"VP8X":
        if head[20] & 2:
            raise UnusableImageError("animated", "more than one picture in the file")
        size = int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1
    elif kind == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        size = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    elif kind == b"VP8 ":
        size = int.from_bytes(head[26:28], "little") & 0x3FFF, int.from_bytes(head[28:30], "little") & 0x3FFF
    else:
        raise UnusableImageError("damaged", "the header of the WebP file cannot be understood")
    _check_size(*size)
