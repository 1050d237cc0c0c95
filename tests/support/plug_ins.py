"""Anomaly types of other packages, as a command finds them."""

import re

from tests.support.commands import environment
from tests.support.paths import ROOT


def documented_type():
    """The code of docs/new-type.md."""
    page = (ROOT / "docs/new-type.md").read_text()
    return re.search(r"<!-- plug-in: begin -->\n```python\n(.*?)```", page, re.S)[1]


def install(folder, code, target="my_defects:GREASE", name="grease"):
    """A package with an entry point, and an environment that finds it."""
    folder.mkdir(exist_ok=True)
    (folder / "my_defects.py").write_text(code)
    about = folder / "my_defects-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: my-defects\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[synthgen.anomalies]\n{name} = {target}\n")
    plain = environment()
    return {**plain, "PYTHONPATH": f"{folder}:{plain['PYTHONPATH']}"}
