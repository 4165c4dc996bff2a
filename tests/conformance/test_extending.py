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
PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.DOTALL | re.MULTILINE)
FILES = {re.findall(r'name: Literal\["(\w+)"\]', code)[0]: code for code in BLOCKS[::2]}
TESTS = dict(zip(FILES, BLOCKS[1::2], strict=True))
"""Each file of the page is followed by its test."""


@pytest.mark.parametrize("name", FILES)
def test_the_example_passes_its_own_test(name, tmp_path, monkeypatch):
    path = tmp_path / "example.py"
    path.write_text(f"{FILES[name]}\n{TESTS[name]}")
    spec = importlib.util.spec_from_file_location("example_of_the_docs", path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    (run,) = (value for name, value in vars(module).items() if name.startswith("test_"))
    run()


@pytest.fixture
def installed(tmp_path):
    """A package of the examples beside privsec, as pip would install it: the path to import it from."""
    entries = {
        "privsec.attacks": ("gap:Gap", "bim:BIM"),
        "privsec.defenses": ("certain:Certain", "lying:Lying"),
        "privsec.datasets": ("rings:Rings",),
    }
    lines = []
    for group, classes in entries.items():
        lines.append(f"[{group}]")
        for where in classes:
            file = where.split(":")[0]
            (tmp_path / f"{file}.py").write_text(FILES[file])
            lines.append(f"{file} = {where}")
    info = tmp_path / "extension-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: extension\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("\n".join(lines))
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
    assert {"gap", "bim"} <= set(listed["attacks"])
    assert {"certain", "lying"} <= set(listed["defenses"])
    assert "rings" in listed["data sets"]

    privsec(installed, "schema", "schema.json")
    schema = (installed / "schema.json").read_text()
    assert "Ranks every rightly classified record above every other." in schema

    config = {
        "title": "Extended",
        "data": {"name": "rings", "size": 400},
        "net": {"name": "mlp", "hidden": [8]},
        "training": {"epochs": 2, "batch_size": 50},
        "population": {"models": 4, "size": 150, "points": 20},
        "defenses": {"none": [], "certain": [{"name": "certain"}], "lying": [{"name": "lying", "chance": 0.2}]},
        "attacks": [
            {"name": "gap"},
            {"name": "gap", "label": "plain", "correct_first": False},
            {"name": "bim", "radius": 0.5},
        ],
    }
    (installed / "config.json").write_text(json.dumps(config))
    privsec(installed, "run", "config.json", "--out", "runs")
    (table,) = installed.glob("runs/*/table.csv")
    rows = table.read_text()
    assert "rings" in rows and ",certain,membership,gap,scores,advantage," in rows and ",plain," in rows
    assert ",certain,evasion,bim,gradients,masking_gap," in rows, "the attack knew of the defense, and did not"
    assert "lying leaves labels" in rows, "an attack that needs scores does not apply behind labels"
    assert "certain" in (table.parent / "report.html").read_text()
