"""The output folder of a build: whose it is, what is finished, and what was learned on the way.

    config.json       what the build makes; another configuration is refused
    journal.jsonl     one line per finished shard, appended and synced after the shard got its name
    quarantine.json   samples and normal images that killed their worker, and are left out
    manifest.json     written last: shards, counts, licences, configuration
    *.h5              the shards
    .lock             held while a build runs

Builds of parts of a plan share the folder: each has a journal, a quarantine and a lock of its own (`journal-0-49.jsonl`),
which the build that completes the dataset takes in.

All of it but the lock is a function of the plan, not of time, place or workers.
"""

import contextlib
import fcntl
import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from synthgen import __version__
from synthgen.errors import UsageError
from synthgen.failpoints import reach
from synthgen.files import differences, read_json, storage_error, write_json, write_text
from synthgen.plan import Plan, PlannedShard
from synthgen.shards import ShardInfo

CONFIG, JOURNAL, QUARANTINE, MANIFEST = "config.json", "journal.jsonl", "quarantine.json", "manifest.json"
_CLAIM = ".lock-claim"
_PARTS_LOCK = re.compile(r"\.lock-(\d+)-(\d+)")
_RECORD = re.compile(r"(config|manifest|quarantine(-\d+-\d+)?)\.json|journal(-\d+-\d+)?\.jsonl")
# what a worker says of itself, and what `temporary_name` makes: file, machine, process
_ON_THE_WAY = re.compile(r"\.progress-(.+\.h5)|\.tmp-(.+\.(?:h5|jsonl?))-.+-\d+")


@dataclass(frozen=True)
class ShardReport:
    """What came of one shard, as one line of the journal.

    Attributes:
        shard: the file.
        made: accepted samples by type.
        redrawn: draws that were refused, by type and reason.
        failed: draws in which a type raised an exception, by type: how many, and the first message.
        rejected: [sample id, reason] of samples without an accepted draw.
        unreadable: [source, reason] of normal images that could not be read.
        warnings: what a person should know about single images.
    """

    shard: ShardInfo
    made: dict[str, int] = field(default_factory=dict)
    redrawn: dict[str, dict[str, int]] = field(default_factory=dict)
    rejected: list[tuple[str, str]] = field(default_factory=list)
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    failed: dict[str, tuple[int, str]] = field(default_factory=dict)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "ShardReport":
        """A report from what `asdict` gave, after a trip through JSON."""
        pairs = {name: [(first, second) for first, second in values[name]] for name in ("rejected", "unreadable")}
        failed = {name: (count, first) for name, (count, first) in values.get("failed", {}).items()}
        return cls(**values | {"shard": ShardInfo(**values["shard"]), "failed": failed} | pairs)


@dataclass(frozen=True, slots=True)
class Failures:
    """What of a type's draws failed: it raised an exception, which is a bug of the type.

    Attributes:
        count: how many.
        draws: of how many.
        first: the first message, with the exception's name.
    """

    count: int
    draws: int
    first: str

    @property
    def share(self) -> float:
        """Of the draws, 0..1."""
        return self.count / self.draws

    def sentence(self, kind: str) -> str:
        """For people, about a type of this name."""
        return f"{kind}: {self.count} of {self.draws} draws failed ({100 * self.share:.2g} %), the first with {self.first}"


def count_failures(reports: Iterable[ShardReport]) -> dict[str, Failures]:
    """The failures of each type that had some; every draw was accepted, refused, or failed."""
    draws: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    first: dict[str, str] = {}
    for report in reports:
        draws.update(report.made)
        draws.update({name: sum(reasons.values()) for name, reasons in report.redrawn.items()})
        for name, (count, message) in report.failed.items():
            draws[name] += count
            failed[name] += count
            first.setdefault(name, message)
    return {name: Failures(failed[name], draws[name], first[name]) for name in sorted(failed)}


@dataclass(frozen=True, slots=True)
class Part:
    """A contiguous run of a plan's shards, for one job of many: numbers from `first` to `last`, both included."""

    first: int
    last: int

    @property
    def suffix(self) -> str:
        """What sets the files of this part's build apart."""
        return f"-{self.first}-{self.last}"

    def of(self, plan: Plan) -> tuple[PlannedShard, ...]:
        """The shards.

        Raises:
            UsageError: the plan has fewer.
        """
        if not 0 <= self.first <= self.last or self.first >= len(plan.shards):
            raise UsageError(f"--shards {self.first}-{self.last}: the plan has shards 0 to {len(plan.shards) - 1}.")
        return plan.shards[self.first : self.last + 1]

    def meets(self, other: "Part") -> bool:
        """Whether both have a shard in common."""
        return self.first <= other.last and other.first <= self.last


class OutputFolder:
    """The folder of one build. Use it as a context manager: the lock is held inside.

    Raises:
        UsageError: the folder belongs to another configuration, to another running build, or holds other things.
        StorageError: it cannot be made or written.
    """

    def __init__(self, path: Path, plan: Plan, part: Part | None = None) -> None:
        """Take the folder of a plan, or of a part of it; nothing is touched yet."""
        self.path = path
        self._plan = plan
        self._part = part
        self._suffix = part.suffix if part else ""
        self._shards = {shard.name for shard in (part.of(plan) if part else plan.shards)}
        self._locks: dict[str, int] = {}
        self._new_locks: set[str] = set()

    def __enter__(self) -> "OutputFolder":
        """Lock the folder, check whose it is, write down what it is for, and sweep what a killed build left."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except (NotADirectoryError, FileExistsError) as error:
            raise UsageError(f"--out {self.path}: is or goes through a file. Choose a folder.") from error
        except OSError as error:
            raise storage_error(self.path / CONFIG, error) from error
        try:
            self._lock_all()
            self._claim()
        except BaseException:
            self._unlock(*self._locks)
            raise
        return self

    def _lock_all(self) -> None:
        """Keep out whoever would make the same shards; a part also keeps out the parts that it meets."""
        if self._part is None:
            self._lock(".lock", fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        self._lock(".lock", fcntl.LOCK_SH | fcntl.LOCK_NB)
        ours = f".lock{self._suffix}"
        self._lock(ours, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for other in sorted(path.name for path in self.path.iterdir() if _is_lock(path)):
            numbers = _PARTS_LOCK.fullmatch(other)
            if numbers and other != ours and self._part.meets(Part(*map(int, numbers.groups()))):
                self._lock(other, fcntl.LOCK_SH | fcntl.LOCK_NB)

    def _lock(self, name: str, kind: int) -> None:
        try:
            if not os.path.lexists(self.path / name):
                self._new_locks.add(name)
            self._locks[name] = os.open(self.path / name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
            fcntl.flock(self._locks[name], kind)
        except BlockingIOError as error:
            raise UsageError(
                f"--out {self.path}: another build is running there. Wait for it, or choose another folder."
            ) from error
        except OSError as error:
            if (self.path / name).is_dir() or (self.path / name).is_symlink():
                raise UsageError(
                    f"--out {self.path / name}: is not a file of ours. Remove it, or choose another folder."
                ) from error
            raise storage_error(self.path / name, error) from error

    def _unlock(self, *names: str) -> None:
        for name in names:
            os.close(self._locks.pop(name))

    def __exit__(self, *_: object) -> None:
        """Sweep what stopped workers left, and let the folder go."""
        with contextlib.suppress(OSError):
            self.sweep()
        self._unlock(*self._locks)

    def _claim(self) -> None:
        """Check whose the folder is, and write down what it is for; parts that start together take turns."""
        if self._part is not None:
            self._lock(_CLAIM, fcntl.LOCK_EX)
        self._check_and_note()
        if self._part is not None:
            self._unlock(_CLAIM)
        self.sweep()

    def _check_and_note(self) -> None:
        config = {
            "format": "synthgen-build",
            "config": json.loads(self._plan.config_json),
            "shards": {shard.name: len(shard) for shard in self._plan.shards},
        }
        path = self.path / CONFIG
        before = read_record(path) if path.exists() else {}
        if before.get("format") == config["format"]:
            _refuse_other(self.path, before.get("config"), config["config"])
        else:
            others = [entry.name for entry in self.path.iterdir() if not self._is_left_over(entry)]
            if others:
                for name in self._new_locks:
                    (self.path / name).unlink(missing_ok=True)
                raise UsageError(
                    f"--out {self.path}: is not empty and no build of ours ({', '.join(sorted(others)[:3])}, ...). "
                    "Choose another folder."
                )
            write_json(path, config)

    def sweep(self) -> None:
        """Remove the temporary files of workers that are gone; a part leaves other parts' shards alone."""
        for entry in self.path.iterdir():
            made = _made_on_the_way(entry)
            if made in self._shards or (self._part is None and _RECORD.fullmatch(made)):
                entry.unlink(missing_ok=True)

    def _is_left_over(self, entry: Path) -> bool:
        """Whether a file can only come from a build of this plan that was killed before it had noted what it is for."""
        if _is_lock(entry):
            return True
        made = _made_on_the_way(entry)
        return _RECORD.fullmatch(made) is not None or any(made == shard.name for shard in self._plan.shards)

    def finished(self) -> dict[str, ShardReport]:
        """Reports of the shards that are there and need not be made again, by file name.

        Where a normal image could not be read, it may have been repaired since: such a shard is made again.
        """
        return {name: report for name, report in finished_shards(self.path).items() if not report.unreadable}

    def append(self, report: ShardReport) -> None:
        """Add a finished shard to the journal; on the device when this returns."""
        reach("journal-before-append")
        line = _line(report)
        journal = _parts_name(self.path / JOURNAL, self._suffix)
        try:
            # a line that a kill tore apart ends here; the reader passes over it
            with journal.open("ab") as file:
                if file.tell() and not _ends_line(journal):
                    file.write(b"\n")
                file.write(line.encode())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise storage_error(journal, error) from error
        reach("journal-after-append")

    def quarantined(self) -> dict[str, str]:
        """Samples to leave out, by id, and normal images, by `dataset/category/stem`, with the reason."""
        return read_quarantine(self.path)

    def quarantine(self, reasons: Mapping[str, str]) -> None:
        """Leave samples or normal images out from now on."""
        if reasons:
            write_json(_parts_name(self.path / QUARANTINE, self._suffix), self.quarantined() | dict(reasons))

    def write_manifest(self, reports: Iterable[ShardReport]) -> None:
        """Write `manifest.json`, which says that the dataset is complete, and the journal once more, in the plan's order."""
        reports = list(reports)
        reach("manifest-before")
        write_text(self.path / JOURNAL, "".join(_line(report) for report in reports))
        if quarantined := self.quarantined():
            write_json(self.path / QUARANTINE, quarantined)
        for name in (JOURNAL, QUARANTINE):
            for part in _parts(self.path / name):
                part.unlink(missing_ok=True)
        for entry in list(self.path.iterdir()):
            if _is_lock(entry) and entry.name != ".lock":
                entry.unlink(missing_ok=True)
        write_json(self.path / MANIFEST, manifest(self._plan, reports))


def _is_lock(entry: Path) -> bool:
    """Whether a file is a lock of a build: empty, and called like one."""
    is_named = entry.name in (".lock", _CLAIM) or _PARTS_LOCK.fullmatch(entry.name) is not None
    return is_named and entry.is_file() and not entry.is_symlink() and not entry.stat().st_size


def _made_on_the_way(entry: Path) -> str:
    """The shard or record that a build was making when it wrote this file; empty for any other file."""
    made = _ON_THE_WAY.fullmatch(entry.name)
    return (made[1] or made[2]) if made and entry.is_file() else ""


def _refuse_other(folder: Path, before: Any, after: Any) -> None:
    """Raise a UsageError if two configurations differ."""
    lines = [f"  {line}" for line in differences(before, after)]
    if not lines:
        return
    if any("sources_sha256" in line for line in lines):
        lines.append("  (sources_sha256: images of that category were added, removed or renamed, or became unusable)")
    text = "\n".join(lines)
    raise UsageError(
        f"--out {folder}: holds a build of another configuration:\n{text}\nChoose another folder, or remove this one."
    )


def _line(report: ShardReport) -> str:
    """A report as a line of the journal."""
    return json.dumps(asdict(report), sort_keys=True, ensure_ascii=False) + "\n"


def manifest(plan: Plan, reports: list[ShardReport]) -> dict[str, Any]:
    """What a dataset says about itself as a whole."""
    made: dict[str, Counter[str]] = {}
    redrawn: dict[str, dict[str, Counter[str]]] = {}
    shards = {shard.name: shard for shard in plan.shards}
    for report in reports:
        place = f"{shards[report.shard.name].dataset}/{shards[report.shard.name].category}"
        made.setdefault(place, Counter()).update(report.made)
        for name, reasons in report.redrawn.items():
            redrawn.setdefault(place, {}).setdefault(name, Counter()).update(reasons)
    failed = {"failed": {name: asdict(failures) for name, failures in count_failures(reports).items()}}
    return {
        "format": "synthgen-dataset",
        "format_version": 1,
        "name": plan.recipe.name,
        "generator": f"synthgen {__version__}",
        "config": json.loads(plan.config_json),
        "licences": {scan.dataset: plan.licence(scan) for scan in plan.scans},
        "commercial_use": {scan.dataset: plan.commercial_use(scan) for scan in plan.scans},
        "foregrounds": {"/".join(place): choice.to_json() for place, choice in plan.decisions.foregrounds.items()},
        "planned": len(plan),
        "made": made,
        "redrawn": redrawn,
        "rejected": [list(pair) for report in reports for pair in report.rejected],
        "unreadable": [list(pair) for report in reports for pair in report.unreadable],
        "shards": [asdict(report.shard) for report in reports],
    } | (failed if failed["failed"] else {})


def read_journal(folder: Path) -> dict[str, ShardReport]:
    """The reports in a folder's journals, by shard name; a later line replaces an earlier one, a torn line is passed over."""
    reports: dict[str, ShardReport] = {}
    for path in (folder / JOURNAL, *_parts(folder / JOURNAL)):
        for line in path.read_bytes().split(b"\n") if path.exists() else ():
            try:
                report = ShardReport.from_json(json.loads(line))
            except (ValueError, TypeError, KeyError):
                continue
            reports[report.shard.name] = report
    return reports


def read_quarantine(folder: Path) -> dict[str, str]:
    """What a folder's builds left out, with the reason."""
    reasons: dict[str, str] = {}
    for path in (folder / QUARANTINE, *_parts(folder / QUARANTINE)):
        if path.exists():
            reasons |= {str(key): str(value) for key, value in read_record(path).items()}
    return reasons


def _parts_name(path: Path, suffix: str) -> Path:
    return path.with_name(f"{path.stem}{suffix}{path.suffix}")


def _parts(path: Path) -> list[Path]:
    """The files that builds of parts have in place of `path`."""
    return sorted(path.parent.glob(f"{path.stem}-*{path.suffix}"))


def finished_shards(folder: Path) -> dict[str, ShardReport]:
    """The reports in a folder's journal whose shard is there and has the right size, by file name."""
    return {
        name: report
        for name, report in read_journal(folder).items()
        if (folder / name).is_file() and (folder / name).stat().st_size == report.shard.bytes
    }


def _ends_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


def read_record(path: Path) -> dict[str, Any]:
    """One of a build's JSON files. Raises IntegrityError if it is damaged."""
    way_out = "Remove the file, and run the same `synthgen build` again."
    if path.name == CONFIG:
        way_out = "Without it nobody can tell what this build is of: remove the folder, or choose another."
    return read_json(path, way_out)
