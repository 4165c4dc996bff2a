"""Files that are held against a schema when they are loaded."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from privsec.core.errors import ConfigError, DataError
from privsec.data.csv import Csv
from privsec.data.npz import Npz
from privsec.schema import files, rules

ROWS = [f"{20 + n},{('red', 'blue')[n % 2]},{('no', 'yes')[n // 2 % 2]}" for n in range(24)]


@pytest.fixture
def table(tmp_path, monkeypatch):
    """A clean table and its schema, in the current directory."""
    pytest.importorskip("pandera")
    monkeypatch.chdir(tmp_path)
    return written(tmp_path, ROWS)


def written(folder, rows, delimiter=","):
    path = folder / "mine.csv"
    path.write_text("\n".join(["age,color,class", *rows]).replace(",", delimiter))
    if not (folder / "schema.yaml").exists():
        rules.write(files.infer(path, delimiter=delimiter)[0], folder / "schema.yaml")
    return folder


def source(**settings):
    return Csv(path="mine.csv", target="class", schema="schema.yaml", **settings)


def test_a_clean_table_is_loaded_as_without_a_schema(table):
    data, bare = source().load(), Csv(path="mine.csv", target="class").load()
    np.testing.assert_array_equal(data.x, bare.x)
    digest = rules.load(table / "schema.yaml").digest
    assert data.steps[0] == ("schema", 24, f"keeps every rule of schema.yaml, digest {digest}")
    assert data.steps[1:] == bare.steps
    assert source().fingerprint == Csv(path="mine.csv", target="class").fingerprint


def test_a_schema_changes_no_digest(table):
    """What is trained on is the same, so nothing is trained again."""
    assert source().digest == Csv(path="mine.csv", target="class").digest


def test_a_changed_cell_is_refused_with_file_rule_and_record(table):
    written(table, [*ROWS[:5], "250,red,no", *ROWS[6:9], "29,rde,no", *ROWS[10:]])
    with pytest.raises(DataError) as error:
        source().load()
    told = str(error.value)
    assert told.startswith("mine.csv: breaks 2 rules of schema.yaml, and is not used (records are counted from 0):")
    assert "\n  age.range: wanted 20 to 43; 1 record (record 5: '250')" in told
    assert "\n  color.values: wanted one of 'blue', 'red'; 1 record (record 9: 'rde')" in told
    assert told.endswith("loosen it in schema.yaml.")


def test_a_finished_run_is_not_given_out_for_a_file_that_breaks_a_rule(table):
    """A run folder is looked up by the fingerprint of the data, without loading them."""
    written(table, [*ROWS[:-1], "250,red,no"])
    with pytest.raises(DataError, match="breaks 1 rule"):
        _ = source().fingerprint


def test_the_form_is_the_source_s_own(table):
    """Delimiter and ending are not the schema's."""
    written(table, ROWS, ";")
    (table / "mine.csv").rename(table / "mine.data")
    assert Csv(path="mine.data", target="class", delimiter=";", schema="schema.yaml").load().size == 24


def test_many_broken_rules_are_cut_short(table):
    names = [f"c{n}" for n in range(14)]
    (table / "mine.csv").write_text(",".join(["age", "color", "class", *names]) + "\n20,red,no" + ",1" * 14 + "\n")
    with pytest.raises(DataError, match=r"(?s)breaks 14 rules.*and 4 more: `privsec data check mine.csv --schema"):
        source().load()


def test_a_schema_that_is_not_there_or_of_another_kind_is_told(table):
    with pytest.raises(ConfigError, match=r"csv: cannot enforce `schema: shcema.yaml`: .*Did you mean 'schema.yaml'"):
        Csv(path="mine.csv", target="class", schema="shcema.yaml").load()
    np.savez("mine.npz", features=np.eye(4, dtype=np.float32), labels=np.array([0, 1, 0, 1]))
    with pytest.raises(ConfigError, match=r"npz: cannot enforce.*rules of a table, and mine.npz holds arrays"):
        Npz(path="mine.npz", schema="schema.yaml").load()


def test_without_pandera_it_says_what_to_install(table, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandera", None)
    monkeypatch.setitem(sys.modules, "pandera.pandas", None)
    with pytest.raises(ConfigError, match=r"pip install 'privsec\[data\]'"):
        source().load()


def test_arrays_are_enforced_without_pandera(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandera", None)
    monkeypatch.setitem(sys.modules, "pandera.pandas", None)
    path, schema = tmp_path / "mine.npz", tmp_path / "schema.yaml"
    x, y = np.arange(40, dtype=np.float32).reshape(10, 4), np.arange(10) % 2
    np.savez(path, features=x, labels=y)
    rules.write(files.infer(path)[0], schema)
    asked = Npz(path=str(path), schema=str(schema))
    assert asked.load().steps[0].name == "schema"
    x[3, 1] = 99
    np.savez(path, features=x, labels=y)
    with pytest.raises(DataError, match=r"features.range: wanted 0 to 39; 1 record \(record 3: '99.0 in column 1'\)"):
        asked.load()
