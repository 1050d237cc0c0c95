"""The house in order: data flows one way, no circle of imports, nothing too long, no call by too many positions."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from tests.support.paths import ROOT

ORDER = {
    package: [name for line in lines for name in line.split()]
    for package, lines in {
        "synthgen": (
            "samples errors failpoints manifests files cache terminal painting datasets shards export runs edges refine",
            "foreground exemplars anomalies recipe decisions plan synthesis fitting replay builder report training cli",
        ),
        "detectors": (
            "results metrics official_test data contract catalog runs inference training pbas bisqad logical evaluation",
            "real cli __main__",
        ),
    }.items()
}
"""The modules and folders of each package as data flows through them: nothing imports what stands to its right."""

LONGEST_FUNCTION, LONGEST_FILE, MOST_POSITIONAL = 60, 450, 6
CHECKED = ("synthgen", "detectors", "tools", "tests", "examples")


@dataclass(frozen=True)
class Module:
    """A file of Python: its dotted name, its lines, and what it says."""

    name: str
    lines: int
    tree: ast.Module


def read_modules(root: Path, folders: tuple[str, ...]) -> dict[str, Module]:
    """All modules below some folders of `root`, by name."""
    modules = {}
    for path in sorted(path for folder in folders for path in (root / folder).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        text = path.read_text(encoding="utf-8")
        modules[name] = Module(name, len(text.splitlines()), ast.parse(text))
    return modules


def imports(modules: dict[str, Module]) -> dict[str, set[str]]:
    """Which modules each one imports, anywhere in it: lazily, or for types alone, counts as well."""
    graph: dict[str, set[str]] = {}
    for name, module in modules.items():
        targets: set[str] = set()
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Import):
                targets |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{name}: a relative import"
                targets |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
        graph[name] = {target for target in targets if target in modules and target != name}
        graph[name] -= {target for target in graph[name] if any(deeper.startswith(target + ".") for deeper in graph[name])}
    return graph


def against_the_order(graph: dict[str, set[str]]) -> list[str]:
    """Imports of what stands to the right, of a command line, or of the other package."""
    wrong = []
    for name, targets in graph.items():
        for target in sorted(targets):
            here, there = name.split("."), target.split(".")
            if "cli" in there[1:2] and here[:2] != there[:2] and name != f"{there[0]}.__main__":
                wrong.append(f"{name} imports a command line: {target}")
            elif here[0] == "synthgen" and there[0] == "detectors" and here[1:2] != ["cli"]:
                wrong.append(f"{name} imports {target}: synthgen knows detectors in its command line alone")
            elif here[0] == there[0] and len(here) > 1 and _place(there) > _place(here):
                wrong.append(f"{name} imports {target}, which stands to its right")
    return wrong


def _place(parts: list[str]) -> int:
    """Where a module stands; the package itself, which holds its version, first."""
    return ORDER[parts[0]].index(parts[1]) if len(parts) > 1 else -1


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Groups of modules that import each other, directly or through others."""
    reached = {name: _reachable(graph, name) for name in graph}
    groups = {frozenset(other for other in reached[name] if name in reached[other]) for name in graph if name in reached[name]}
    return sorted(sorted(group) for group in groups)


def _reachable(graph: dict[str, set[str]], start: str) -> set[str]:
    seen: set[str] = set()
    waiting = list(graph[start])
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting += graph[name]
    return seen


def long_functions(module: Module) -> Iterator[str]:
    """Functions with more lines than `LONGEST_FUNCTION`, their docstring not counted."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            said = node.body[0].end_lineno - node.body[0].lineno + 1 if ast.get_docstring(node) else 0
            if (lines := node.end_lineno - node.lineno + 1 - said) > LONGEST_FUNCTION:
                yield f"{module.name}.{node.name}: {lines} lines"


def positional(module: Module, variadic: frozenset[str] = frozenset()) -> Iterator[str]:
    """Functions that take, and calls that give, more than `MOST_POSITIONAL` arguments by position.

    Calls of functions that take any number of the same kind of thing (`*names`) do not count: no two can be swapped.
    """
    for node in ast.walk(module.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names = [arg.arg for arg in (*node.args.posonlyargs, *node.args.args) if arg.arg not in ("self", "cls")]
            if len(names) > MOST_POSITIONAL and not _is_test(module, node):
                yield f"{module.name}:{node.lineno}: {node.name} takes {len(names)}"
        elif isinstance(node, ast.Call) and len(node.args) > MOST_POSITIONAL and _called(node) not in variadic:
            yield f"{module.name}:{node.lineno}: {ast.unparse(node.func)} is given {len(node.args)}"


def _is_test(module: Module, node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether pytest calls it, which does so by name."""
    return module.name.startswith("tests.") and (node.name.startswith("test_") or bool(node.decorator_list))


def _called(call: ast.Call) -> str:
    """The last part of the name of what is called."""
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def variadic_names(modules: dict[str, Module]) -> frozenset[str]:
    """Names of functions that take any number of positional arguments: Python's and PyTorch's that are used here, and ours."""
    functions = (node for module in modules.values() for node in ast.walk(module.tree) if isinstance(node, ast.FunctionDef))
    return frozenset(
        {"chain", "join", "max", "min", "print", "Sequential", "zip"} | {f.name for f in functions if f.args.vararg}
    )


def class_names(modules: dict[str, Module]) -> dict[str, list[str]]:
    """Where the classes of each name are."""
    places: dict[str, list[str]] = {}
    for module in modules.values():
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name, []).append(module.name)
    return places


def shadowed(modules: dict[str, Module]) -> list[str]:
    """Packages that give the name of one of their modules to something else."""
    wrong = []
    for name, module in modules.items():
        inner = {other.rpartition(".")[2] for other in modules if other.rpartition(".")[0] == name}
        for node in module.tree.body:
            bound = {alias.asname or alias.name for alias in node.names} if isinstance(node, ast.ImportFrom) else set()
            if isinstance(node, ast.ImportFrom) and node.module == name:
                bound = set()  # the module itself
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                bound = {node.name}
            wrong += [f"{name}.{both} is a module and something else" for both in sorted(bound & inner)]
    return wrong


@cache
def _library() -> dict[str, Module]:
    return read_modules(ROOT, ("synthgen", "detectors"))


@cache
def _everything() -> dict[str, Module]:
    return read_modules(ROOT, CHECKED)


def test_data_flows_one_way():
    assert against_the_order(imports(_library())) == []


def test_no_circle_of_imports():
    assert circles(imports(_library())) == []


def test_every_module_has_a_place():
    for package, order in ORDER.items():
        there = {path.stem for path in (ROOT / package).iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
        assert there - {"__init__"} == set(order)


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("synthgen.shards.planted", "from synthgen.plan import Plan", "stands to its right"),
        ("synthgen.shards.planted", "def f():\n    import synthgen.builder.driver", "stands to its right"),
        ("synthgen.report.planted", "from detectors.metrics import ranking", "knows detectors in its command line alone"),
        ("synthgen.report.planted", "from synthgen.cli.commands import app", "imports a command line"),
        ("detectors.cli.planted", "from synthgen.cli import app", "imports a command line"),
    ],
)
def test_a_planted_violation_is_found(name, text, told):
    planted = _library() | {name: Module(name, 1, ast.parse(text))}
    assert [told in line for line in against_the_order(imports(planted))] == [True]


def test_a_planted_circle_is_found():
    planted = _library() | {
        "synthgen.shards.one": Module("synthgen.shards.one", 1, ast.parse("def f():\n    from synthgen.shards import two")),
        "synthgen.shards.two": Module("synthgen.shards.two", 1, ast.parse("import synthgen.shards.one")),
    }
    assert circles(imports(planted)) == [["synthgen.shards.one", "synthgen.shards.two"]]


def test_nothing_is_too_long():
    modules = _everything()
    assert [line for module in modules.values() for line in long_functions(module)] == []
    assert {name: module.lines for name, module in modules.items() if module.lines > LONGEST_FILE} == {}


def test_nothing_goes_by_too_many_positions():
    variadic = variadic_names(_everything())
    assert [line for module in _everything().values() for line in positional(module, variadic)] == []


def test_no_two_classes_of_one_name():
    assert {name: places for name, places in class_names(_library()).items() if len(places) > 1} == {}


def test_no_module_and_function_of_one_name():
    assert shadowed(_library()) == []
