"""Checks datasets of shards, and survives whatever is in them: each file is looked into by a child process with limits."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from synthgen.errors import IntegrityError
from synthgen.shards.catalog import MANIFEST, find_shards
from synthgen.shards.inspection import Finding
from synthgen.shards.layout import SUFFIX, ShardInfo
from synthgen.shards.schema import digest_problems

# The limits come before the first import of a library that reads the file.
_CHILD = """
import resource, sys
seconds, memory = int(sys.argv[3]), int(sys.argv[4])
resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
from synthgen.shards.inspection import main
main(sys.argv[1], sys.argv[2])
"""


def verify(
    path: Path | str | Sequence[Path | str], *, deep: bool = True, seconds: int = 300, memory: int = 2 << 30
) -> list[Finding]:
    """Checks every byte and every sample of a dataset.

    The SHA-256 at a shard's end reports any changed byte, and the manifest's digest any file that was exchanged for another.
    What lies inside is then checked part by part, so that damage is named by sample.

    Args:
        path: a shard, a folder of shards, or a list of both.
        deep: also decode every sample; otherwise only digests, structure and columns.
        seconds: most time for one shard; a whole number, at least 1.
        memory: most address space for the check of one shard, in bytes.

    Returns:
        What was found, shard by shard; nothing for a whole dataset.

    Raises:
        InputDataError: there is nothing at `path`.
        IntegrityError: the manifest itself cannot be read.
    """
    shards = find_shards(path)
    findings = [finding for file, info in shards for finding in _verify_shard(file, info, deep, seconds, memory)]
    listed = {file for file, info in shards if info}
    for folder in sorted({file.parent for file in listed}):
        for file in sorted(set(folder.glob(f"[!.]*{SUFFIX}")) - listed):
            findings.append(Finding(file.name, None, f"{MANIFEST} does not list it"))
    return findings


def _verify_shard(path: Path, info: ShardInfo | None, deep: bool, seconds: int, memory: int) -> list[Finding]:
    if not path.is_file():
        return [Finding(path.name, None, f"missing, although {MANIFEST} lists it")]
    try:
        findings = [Finding(path.name, None, problem) for problem in digest_problems(path, info)]
    except IntegrityError as error:
        findings = [Finding(path.name, None, str(error))]
    return findings + _inspect_in_child(path, deep, seconds, memory)


def _inspect_in_child(path: Path, deep: bool, seconds: int, memory: int) -> list[Finding]:
    command = [sys.executable, "-c", _CHILD, str(path), "deep" if deep else "quick", str(seconds), str(memory)]
    # One thread each: the address space of idle ones counts as memory.
    settings = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    try:
        child = subprocess.run(
            command,
            env={**os.environ, **settings},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=seconds,
        )
    except subprocess.TimeoutExpired:
        return [Finding(path.name, None, f"its check took more than {seconds} s and was stopped")]
    lines = child.stdout.splitlines()
    findings = [Finding(**json.loads(line)) for line in lines if line.startswith("{") and line.endswith("}")]
    if "null" not in lines:
        last = (child.stderr.strip().splitlines() or [""])[-1][:200]
        findings.append(Finding(path.name, None, f"its check crashed (exit status {child.returncode}) {last}".rstrip()))
    return findings
