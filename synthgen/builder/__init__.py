"""A plan becomes shards in a folder: by worker processes, resumable at any moment, the same bytes whatever happens.

`folder` keeps what is known about the output on disk, `task` makes one shard in a worker, `backends` are where workers
live, `driver` runs the tasks.
"""

from synthgen.builder.backends import dask_opener, open_loky
from synthgen.builder.driver import BuildResult, build
from synthgen.builder.folder import OutputFolder, Part

__all__ = ["BuildResult", "OutputFolder", "Part", "build", "dask_opener", "open_loky"]
