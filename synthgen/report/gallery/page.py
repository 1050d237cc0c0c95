"""The gallery as one HTML file: no framework, no network, nothing but what is in it."""

import json
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path

from synthgen import __version__
from synthgen.files import write_bytes
from synthgen.report.gallery.contents import FIELDS, Gallery


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
    content = page.encode("utf-8", "replace")
    write_bytes(path, content)
    return len(content)
