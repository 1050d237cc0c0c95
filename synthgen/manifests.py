"""Where the manifests that come with the package are: datasets and recipes, as YAML files."""

from functools import cache
from pathlib import Path

from synthgen.errors import IntegrityError


@cache
def manifest_dir() -> Path:
    """The folder of the built-in manifests, with the folders `datasets` and `recipes` in it.

    Returns:
        `synthgen/_manifests` of an installed package, `manifests` of a checkout.

    Raises:
        IntegrityError: neither is there.
    """
    package = Path(__file__).resolve().parent
    for folder in (package / "_manifests", package.parent / "manifests"):
        if (folder / "datasets").is_dir():
            return folder
    raise IntegrityError(f"{package}: the manifests of synthgen are missing. Install the package again.")
