"""The gallery as one HTML file: no framework, no network, nothing but what is in it."""

import json
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path

from synthgen import __version__
from synthgen.report.gallery.collect import FIELDS, Gallery
from synthgen.shards.storage import storage_error, temporary_name


def write_gallery(path: Path, gallery: Gallery) -> int:
    """Write the page.

    Args:
        path: the HTML file.
        gallery: what it shows.

    Returns:
        Its size in bytes.

    Raises:
        StorageError: it cannot be written.
    """
    here = files("synthgen.report.gallery")
    page = here.joinpath("page.html").read_text(encoding="utf-8")
    data = json.dumps({**asdict(gallery), "fields": FIELDS, "version": __version__}, ensure_ascii=False, separators=(",", ":"))
    parts = {
        "STYLE": here.joinpath("page.css").read_text(encoding="utf-8"),
        "SCRIPT": here.joinpath("page.js").read_text(encoding="utf-8"),
        "DATA": data.replace("<", "\\u003c"),  # or a name could end the script
    }
    for name, text in parts.items():
        page = page.replace(f"/*{name}*/", text)
    temporary = temporary_name(path)
    content = page.encode("utf-8", "replace")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise storage_error(path, error) from error
    return len(content)
