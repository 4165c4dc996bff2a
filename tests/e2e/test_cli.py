"""The command line as a user meets it: what it prints, what it leaves, how it exits."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SMALL = {
    "title": "A <small> one",
    "data": {"name": "digits", "limit": 400},
    "net": {"name": "mlp", "hidden": [16]},
    "training": {"epochs": 5, "batch_size": 20},
    "population": {"models": 8, "size": 100},
    "defenses": {"none": [], "labels": [{"name": "label_only"}]},
    "attacks": [{"name": "lira"}, {"name": "correctness"}],
}


def privsec(*arguments: object, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "privsec", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False)


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("config") / "small.json"
    path.write_text(json.dumps(SMALL))
    return path


@pytest.fixture(scope="module")
def finished(config) -> tuple[subprocess.CompletedProcess[str], Path]:
    """One run: what it printed, and its folder."""
    ran = privsec("run", config, "--out", config.parent / "runs")
    return ran, next((config.parent / "runs").glob("a-small-one-*"))


def test_run_prints_the_verdict_and_where_the_report_is(finished):
    ran, folder = finished
    assert ran.returncode == 0, ran.stderr
    assert "lira" in ran.stdout and "test accuracy" in ran.stdout and "n/a" in ran.stdout
    assert str(folder / "report.html") in ran.stdout and str(folder / "table.csv") in ran.stdout
    assert not ran.stderr, "quiet where nobody watches"
    assert {"config.yaml", "table.csv", "record.json", "report.html", "cells"} <= {p.name for p in folder.iterdir()}


def test_the_report_is_one_file_that_needs_no_network(finished):
    page = (finished[1] / "report.html").read_text()
    assert "<small>" not in page.split("</title>")[0].split("<title>")[1], "the title is escaped"
    assert 'src="http' not in page and "@import" not in page and "<link" not in page
    assert "label_only leaves labels" in page


def test_report_compare_and_plan(finished, config):
    folder = finished[1]
    assert privsec("report", folder).stdout.strip() == str(folder / "report.html")
    same = privsec("compare", folder, folder, "--html", config.parent / "compare.html")
    assert same.returncode == 0, same.stderr
    assert (config.parent / "compare.html").exists()
    planned = privsec("plan", config, "--out", config.parent / "elsewhere")
    assert planned.returncode == 0, planned.stderr
    assert "8 models" in planned.stdout and "label_only leaves labels" in planned.stdout
    assert not (config.parent / "elsewhere").exists(), "planning computes nothing and writes nothing"


def test_a_typo_exits_2_and_writes_nothing(config, tmp_path):
    wrong = tmp_path / "wrong.json"
    wrong.write_text(json.dumps({**SMALL, "attacks": [{"name": "lira"}, {"name": "rmia", "gama": 3}]}))
    ran = privsec("run", wrong, "--out", tmp_path / "runs")
    assert ran.returncode == 2
    assert "attacks[1].gama" in ran.stderr and "Did you mean 'gamma'" in ran.stderr and str(wrong) in ran.stderr
    assert "Traceback" not in ran.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["run", "nowhere.yaml"], "no such file"),
        (["run"], "Missing argument"),
        (["report", "nowhere"], "not a finished run"),
        (["run", "{config}", "--set", "population.models=7"], "complementary pairs"),
        (["run", "{config}", "--set", "data={name: npz, path: nowhere.npz}"], "nowhere.npz"),
        (["run", "{config}", "--set", "population.size=300"], "largest possible size"),
        (["run", "{config}", "--out", "/proc/nowhere"], "--out"),
    ],
)
def test_wrong_usage_exits_2_and_says_what_to_write(config, tmp_path, arguments, says):
    given = [str(config) if a == "{config}" else a for a in arguments]
    if arguments[0] == "run" and "--out" not in given:
        given += ["--out", str(tmp_path / "runs")]
    ran = privsec(*given)
    assert ran.returncode == 2, ran.stdout
    assert says in ran.stderr and "Traceback" not in ran.stderr


def test_failed_cells_exit_3_and_the_rest_is_there(config, tmp_path):
    diverging = "training={optimizer: sgd, learning_rate: 1e30, epochs: 2}"
    ran = privsec("run", config, "--out", tmp_path, "--set", diverging)
    assert ran.returncode == 3
    assert "diverged" in ran.stderr
    assert next(tmp_path.glob("a-small-one-*/report.html")).exists()


@pytest.mark.skipif(not hasattr(signal, "SIGINT"), reason="needs POSIX signals")
def test_an_interrupted_run_says_that_it_can_be_continued(config, tmp_path):
    arguments = [
        "run",
        str(config),
        "--out",
        str(tmp_path),
        "--set",
        "training.epochs=1000",
        "--set",
        "population.models=64",
    ]
    command = [sys.executable, "-m", "privsec", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    while process.poll() is None and not list(tmp_path.glob("bank/*/model-*")):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130 and "continues where it stopped" in err, err


def test_catalog_lists_everything_a_config_can_name():
    listed = json.loads(privsec("catalog", "--json").stdout)
    assert {"attacks", "defenses", "data sets", "nets"} <= set(listed)
    assert {"lira", "rmia", "mi_face"} <= {row["name"] for row in listed["attacks"]}
    shown = privsec("catalog")
    assert shown.returncode == 0 and all(row["name"] in shown.stdout for row in listed["attacks"])


def test_the_schema_in_the_repository_is_current_and_drift_is_noticed(tmp_path):
    assert privsec("schema", "--check", "configs/schema.json").returncode == 0
    (tmp_path / "schema.json").write_text("{}")
    drifted = privsec("schema", "--check", tmp_path / "schema.json")
    assert drifted.returncode == 1 and "make schema" in drifted.stderr


@pytest.mark.parametrize("path", sorted(ROOT.glob("configs/*.yaml")), ids=lambda p: p.name)
def test_every_config_in_the_repository_is_valid(path):
    from privsec.runner.config import load

    load(path)
