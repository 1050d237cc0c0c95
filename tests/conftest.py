"""What all tests share: one thread each, a cache folder of their own, and no warnings."""

import os
import tempfile

import pytest

os.environ["OMP_NUM_THREADS"] = "1"  # before PyTorch is imported: tests run side by side, threads would wait


@pytest.fixture(scope="session", autouse=True)
def _own_cache():
    """No test reads or fills the user's cache."""
    before = os.environ.get("SYNTHGEN_CACHE")
    with tempfile.TemporaryDirectory(prefix="synthgen-test-cache-") as folder:
        os.environ["SYNTHGEN_CACHE"] = folder
        yield
    if before is None:
        del os.environ["SYNTHGEN_CACHE"]
    else:
        os.environ["SYNTHGEN_CACHE"] = before
