"""`privsec data` as a pipeline meets it: what it prints, how it exits, and no traceback whatever it is given."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest


def privsec(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "privsec", "data", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def schema(tmp_path_factory):
    """Inferred by the command itself from a clean file beside it."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "clean.csv").write_text("age,sex\n20,f\n31,m\n42,f\n")
    made = privsec("schema", folder / "clean.csv", "--out", folder / "schema.yaml")
    assert made.returncode == 0 and made.stdout.strip() == str(folder / "schema.yaml")
    assert "sex: one record alone has 'm'" in made.stderr
    return folder / "schema.yaml"


def test_exit_0_where_no_rule_is_broken(schema):
    ran = privsec("check", schema.with_name("clean.csv"), "--schema", schema)
    assert ran.returncode == 0 and "3 records keep every rule" in ran.stdout and not ran.stderr


def test_exit_1_with_every_problem(schema, tmp_path):
    (tmp_path / "new.csv").write_text("age,sex\n200,f\nx,d\n")
    ran = privsec("check", tmp_path / "new.csv", "--schema", schema)
    assert ran.returncode == 1 and not ran.stderr
    for line in (
        "age.type: wanted a whole number; 1 record (record 1: 'x')",
        "age.range: wanted 20 to 42",
        "sex.values",
    ):
        assert line in ran.stdout
    told = json.loads(privsec("check", tmp_path / "new.csv", "--schema", schema, "--json").stdout)
    assert told["passed"] is False and told["records"] == 2 and len(told["sha256"]) == 64
    assert told["problems"][0] == {
        "column": "age",
        "rule": "type",
        "wanted": "a whole number",
        "records": 1,
        "examples": [{"record": 1, "value": "x"}],
    }


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["check", "{ragged}", "--schema", "{schema}"], 1, "line 2 has 1 cells"),
        (["check", "nowhere.csv", "--schema", "{schema}"], 2, "no such file"),
        (["check", "{ragged}", "--schema", "nowhere.yaml"], 2, "no such schema"),
        (["check", "{ragged}"], 2, "Missing option"),
        (["schema", "{ragged}", "--out", "{out}"], 2, "line 2 has 1 cells"),
        (["schema", "{clean}", "--out", "/proc/nowhere"], 2, "cannot be written"),
        (["lineage", "nowhere"], 2, "no lineage"),
    ],
)
def test_bad_input_has_an_exit_code_and_no_traceback(arguments, code, says, schema, tmp_path):
    (tmp_path / "ragged.csv").write_text("age,sex\n1\n")
    named = {"ragged": tmp_path / "ragged.csv", "schema": schema, "out": tmp_path / "o.yaml"}
    named["clean"] = schema.with_name("clean.csv")
    ran = privsec(*(argument.format(**named) for argument in arguments))
    assert ran.returncode == code, ran.stdout + ran.stderr
    assert says in ran.stdout + ran.stderr and "Traceback" not in ran.stderr
