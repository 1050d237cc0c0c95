"""Shares the normal images and the small networks with the tests of training."""

from tests.support.refinement_runs import npcf, npcfpp, root, shards  # noqa: F401  fixtures
