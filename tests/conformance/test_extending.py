"""What docs/extending.md promises: its examples pass the exam, and one file makes them appear everywhere."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SECTIONS = re.split(r"^## ", (ROOT / "docs" / "extending.md").read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
BLOCKS = {section.splitlines()[0]: re.findall(r"```python\n(.*?)```", section, re.DOTALL) for section in SECTIONS}
FILES = {title.split(" ")[2]: code for title, (code, _) in BLOCKS.items()}


@pytest.mark.parametrize("title", BLOCKS)
def test_the_example_passes_its_own_test(title, tmp_path, monkeypatch):
    file, test = BLOCKS[title]
    path = tmp_path / "example.py"
    path.write_text(f"{file}\n{test}")
    spec = importlib.util.spec_from_file_location("example_of_the_docs", path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    (run,) = (value for name, value in vars(module).items() if name.startswith("test_"))
    run()


@pytest.fixture
def installed(tmp_path):
    """A package of the examples beside privsec, as pip would install it: the path to import it from."""
    for kind, name in (("attack", "gap"), ("defense", "ceiling"), ("data", "rings")):
        (tmp_path / f"{name}.py").write_text(FILES[kind])
    info = tmp_path / "extension-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: extension\nVersion: 1.0\n")
    groups = {"privsec.attacks": "gap:Gap", "privsec.defenses": "ceiling:Ceiling", "privsec.datasets": "rings:Rings"}
    (info / "entry_points.txt").write_text("".join(f"[{g}]\nmine = {where}\n" for g, where in groups.items()))
    return tmp_path


def privsec(installed: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", "from privsec.cli import main; main()", *arguments],
        cwd=installed,
        env={**os.environ, "PYTHONPATH": f"{installed}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_one_file_appears_everywhere(installed):
    """Catalog, schema, config, table and report, through nothing but entry points."""
    catalog = json.loads(privsec(installed, "catalog", "--json"))
    listed = {kind: [row["name"] for row in rows] for kind, rows in catalog.items()}
    assert "gap" in listed["attacks"]
    assert "ceiling" in listed["defenses"]
    assert "rings" in listed["data sets"]

    privsec(installed, "schema", "schema.json")
    schema = (installed / "schema.json").read_text()
    assert "Ranks every rightly classified record above every other." in schema

    config = {
        "title": "Extended",
        "data": {"name": "rings", "size": 400},
        "net": {"name": "mlp", "hidden": [8]},
        "training": {"epochs": 2, "batch_size": 50},
        "population": {"models": 4, "size": 150},
        "defenses": {"none": [], "ceiling": [{"name": "ceiling", "share": 0.2}]},
        "attacks": [{"name": "gap"}, {"name": "gap", "label": "plain", "correct_first": False}],
    }
    (installed / "config.json").write_text(json.dumps(config))
    privsec(installed, "run", "config.json", "--out", "runs")
    (table,) = installed.glob("runs/*/table.csv")
    rows = table.read_text()
    assert "rings" in rows and ",ceiling,membership,gap,scores,advantage," in rows and ",plain," in rows
    assert "ceiling" in (table.parent / "report.html").read_text()
