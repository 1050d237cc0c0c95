"""The table of the house counts what is planted, in an old checkout as well."""

from tools import house


def plant(root, files):
    for name, text in files.items():
        path = root / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_planted_faults_are_counted(tmp_path):
    long = "def f():\n" + "    pass\n" * 61
    root = plant(
        tmp_path,
        {
            "synthgen/plan": "import synthgen.errors\nimport synthgen.synthesis\nclass A: ...",
            "synthgen/synthesis": "def f():\n    import synthgen.plan\nclass A: ...",
            "synthgen/errors": "def f(a, b, c, d, e, f, g): ...",
            "detectors/metrics": long,
            "tests/test_it": "print(1)\n" * 9 + "f(1, 2, 3, 4, 5, 6, 7)\n",
        },
    )
    facts = house.facts(root, {})
    assert list(facts.values()) == [4, 1, 2, 1, 1, "62 (detectors.metrics)", 0, 2, 1, 10]


def test_old_modules_are_judged_by_where_they_are_now(tmp_path, capsys):
    task = "import synthgen.old_cli\nimport synthgen.plan"
    root = plant(tmp_path / "old", {"synthgen/build/task": task, "synthgen/plan": "", "synthgen/old_cli": ""})
    assert house.facts(root, {})["imports against the order"] == "unknown: 2 modules have no place"
    moves = {"synthgen.build": "synthgen.builder"}
    assert house.facts(root, moves)["imports against the order"] == "0, and 1 modules have no place"
    (tmp_path / "moves").write_text("synthgen.build synthgen.builder\nsynthgen.old_cli synthgen.cli\n")
    house.main([str(root), str(root), "--moves", str(tmp_path / "moves")])
    assert "| imports against the order | 1 | 1 |" in capsys.readouterr().out
