"""Digests of files."""

import hashlib
from pathlib import Path

from synthgen.errors import InputDataError


def file_sha256(path: Path) -> str:
    """Hexadecimal digest of a file.

    Raises:
        InputDataError: it cannot be read.
    """
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise InputDataError(f"{path}: cannot be read ({error.strerror or error}).") from error
