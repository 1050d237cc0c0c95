"""The README's test command on the lowest versions that pyproject.toml allows, in a virtual environment of its own.

    python3.11 -m tools.lowest FOLDER [OPTION OF PYTEST ...]

Takes the lowest Python that the project allows. FOLDER/lowest.txt gets the lower bounds of the core and of all extras, as pins;
the commands then run with it and FOLDER/venv in place of constraints.txt and .venv. What those packages bring in turn, which
has no bound here, is the newest that fits.
"""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_BOUND = re.compile(r"([\w.-]+)(?:\[[\w,-]+\])?>=([\d.]+)")
_COMMANDS = re.compile(r"<!-- tests: begin -->\n```sh\n(.*?)```\n<!-- tests: end -->", re.DOTALL)


def lower_bounds(project: dict) -> dict[str, str]:
    """The lower bound of every package that the project or an extra of it needs, by name; an extra of its own is none.

    Raises:
        ValueError: A package has no bound, has more than one, or its bound is written in another way than `name>=version`.
    """
    extras = project.get("optional-dependencies", {}).values()
    needs = {
        need for group in (project["dependencies"], *extras) for need in group if not need.startswith(f"{project['name']}[")
    }
    bounds: dict[str, str] = {}
    for need in sorted(needs):
        match = _BOUND.fullmatch(need)
        if match is None or match[1] in bounds:
            raise ValueError(f"pyproject.toml: {need}: write one bound for each package, as name>=version")
        bounds[match[1]] = match[2]
    return bounds


def commands_in(readme: str, folder: Path) -> str:
    """The README's test command, with a virtual environment and pins of lowest versions in `folder`."""
    (commands,) = _COMMANDS.findall(readme)
    for word, instead in (
        ("python3 ", f"{sys.executable} "),
        (".venv", f"{folder}/venv"),
        ("constraints.txt", f"{folder}/lowest.txt"),
    ):
        if word not in commands:
            raise ValueError(f"README.md: the test command has no {word!r} any more; tell tools/lowest.py what stands for it")
        commands = commands.replace(word, instead)
    return commands.strip()


def main(arguments: list[str]) -> int:
    """Writes the pins, installs and tests; the status is that of the commands."""
    if not arguments or arguments[0].startswith("-"):
        sys.exit(__doc__)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lowest_python = project["requires-python"].removeprefix(">=")
    if sys.version_info[:2] != tuple(int(part) for part in lowest_python.split(".")):
        sys.exit(f"the lowest Python that pyproject.toml allows is {lowest_python}: python{lowest_python} -m tools.lowest ...")
    folder = Path(arguments[0]).resolve()
    commands = commands_in((ROOT / "README.md").read_text(encoding="utf-8"), folder)
    folder.mkdir(parents=True)  # a new one: nothing that an earlier run installed may help
    pins = [f"{name}=={version}" for name, version in lower_bounds(project).items()]
    (folder / "lowest.txt").write_text("\n".join(pins) + "\n", encoding="utf-8")
    return subprocess.run(["bash", "-euo", "pipefail", "-c", f'{commands} "$@"', "lowest", *arguments[1:]], cwd=ROOT).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
