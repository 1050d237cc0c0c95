"""What scans of datasets found, and what holds for every one of them."""

import re

import pytest

from synthgen import datasets
from synthgen.errors import InputDataError


def used(scan):
    return {category.name: [source.source for source in category.used] for category in scan.categories}


def check(scan):
    """What holds for every scan."""
    for category in scan.categories:
        assert category.found == len(category.used) + len(category.rejected)
        assert len({source.stem for source in category.used}) == len(category.used)
        paths = [source.source for source in category.used]
        assert paths == sorted(paths)
        for source in category.used:
            assert source.path == scan.root / source.source
            assert (source.dataset, source.category) == (scan.dataset, category.name)
        assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", file.reason) and file.detail for file in category.rejected)
    return scan


def problem(dataset, root, categories=None):
    with pytest.raises(InputDataError) as caught:
        datasets.scan(dataset, root, categories)
    return str(caught.value)
