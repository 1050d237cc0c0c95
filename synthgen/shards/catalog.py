"""Which files make up a dataset of shards."""

import json
from collections.abc import Sequence
from pathlib import Path

from synthgen.errors import InputDataError, IntegrityError
from synthgen.shards.layout import SUFFIX, ShardInfo

MANIFEST = "manifest.json"


def find_shards(path: Path | str | Sequence[Path | str]) -> list[tuple[Path, ShardInfo | None]]:
    """The shards of a file, a folder or a list of both, with what the folder's manifest says of each.

    A file that a manifest lists may be `missing`.

    Raises:
        InputDataError: there is nothing at `path`, or no shard in it.
        IntegrityError: the manifest is damaged.
    """
    if not isinstance(path, str | Path):
        return [shard for part in path for shard in find_shards(part)]
    path = Path(path)
    if not path.is_dir():
        if not path.is_file():
            raise InputDataError(f"{path}: there is no such shard or folder. `synthgen build --out {path}` makes one.")
        return [(path, None)]
    if (path / MANIFEST).is_file():
        return _listed(path)
    files = sorted(path.glob(f"[!.]*{SUFFIX}"))
    if not files:
        raise InputDataError(
            f"{path}: no {MANIFEST} and no *{SUFFIX} in this folder; is it the one that `synthgen build` wrote?"
        )
    return [(file, None) for file in files]


def _listed(folder: Path) -> list[tuple[Path, ShardInfo | None]]:
    manifest = folder / MANIFEST
    try:
        infos = [ShardInfo.from_json(entry) for entry in json.loads(manifest.read_text("utf-8"))["shards"]]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise IntegrityError(
            f"{manifest}: cannot be read ({error}). Run the same `synthgen build` again to restore it."
        ) from error
    for info in infos:
        if Path(info.name).name != info.name:
            raise IntegrityError(f"{manifest}: {info.name!r} is not the name of a file in this folder.")
    return [(folder / info.name, info) for info in infos]


def missing(shard: Path) -> IntegrityError:
    """The error for a shard that the manifest lists and that is not there."""
    return IntegrityError(
        f"{shard}: missing, although {MANIFEST} lists it. Run the same `synthgen build` again: only what is missing is made."
    )
