"""Files held against schemas, of every kind and in every state."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from privsec.core.errors import ConfigError, DataError
from privsec.schema import files, rules

TABLE = "age,sex,note\n20,f,a\n31,m,\n42,f,b\n"


@pytest.fixture
def schema(tmp_path):
    """The path of a schema of what `TABLE` says."""
    (tmp_path / "clean.csv").write_text(TABLE)
    return rules.write(files.infer(tmp_path / "clean.csv")[0], tmp_path / "schema.yaml")


def test_one_table_in_three_formats(schema, tmp_path):
    frame = pd.DataFrame({"age": [20, 31, 42], "sex": ["f", "m", "f"], "note": ["a", None, "b"]})
    frame.to_parquet(tmp_path / "same.parquet")
    (tmp_path / "same.tsv").write_text(TABLE.replace(",", "\t"))
    for name in ("clean.csv", "same.tsv", "same.parquet"):
        found = files.check(tmp_path / name, schema)
        assert found.passed and found.records == 3, found.problems
    frame.assign(age=[20, 31, 43]).to_parquet(tmp_path / "older.parquet")
    (problem,) = files.check(tmp_path / "older.parquet", schema).problems
    assert (problem.column, problem.rule, problem.examples) == ("age", "range", ((2, "43"),))


def test_quotes_are_text_in_tsv(tmp_path):
    (tmp_path / "a.tsv").write_text('label\ttext\nham\tsay "no\nspam\t"free\n')
    found, _ = files.infer(tmp_path / "a.tsv")
    assert files.check(tmp_path / "a.tsv", rules.write(found, tmp_path / "s.yaml")).records == 2


def test_the_form_of_a_file_stands_in_its_schema(tmp_path):
    (tmp_path / "a.csv").write_bytes("größe;n\nklein;1\nlängst;2\n".encode("latin-1"))
    found, _ = files.infer(tmp_path / "a.csv", delimiter=";", encoding="latin-1")
    schema = rules.write(found, tmp_path / "s.yaml")
    assert files.check(tmp_path / "a.csv", schema).passed
    with pytest.raises(DataError, match="not utf-8"):
        files.infer(tmp_path / "a.csv", delimiter=";")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"age,sex,note\n1,f\n", "2 cells"),
        ("age,sex,note\n1,f,\u00fc\n".encode("latin-1"), "not utf-8"),
        (b'age,sex,note\n1,f,"x\n', "quotes"),
        (b"age,age,note\n1,2,3\n", "more than once"),
    ],
)
def test_a_broken_table_is_a_problem_not_a_crash(content, says, schema, tmp_path):
    (tmp_path / "broken.csv").write_bytes(content)
    found = files.check(tmp_path / "broken.csv", schema)
    assert not found.passed and found.problems[0].rule == "readable" and says in found.problems[0].wanted


def test_a_table_without_records(schema, tmp_path):
    (tmp_path / "none.csv").write_text("age,sex,note\n")
    assert [problem.rule for problem in files.check(tmp_path / "none.csv", schema).problems] == ["fewest_records"]


def test_arrays(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.eye(4, dtype=np.float32), y=np.array([0, 1, 0, 1]))
    schema = rules.write(files.infer(tmp_path / "a.npz")[0], tmp_path / "s.yaml")
    assert files.check(tmp_path / "a.npz", schema).passed
    whole = (tmp_path / "a.npz").read_bytes()
    for name, content in {"cut.npz": whole[:200], "text.npz": b"x,y\n"}.items():
        (tmp_path / name).write_bytes(content)
        assert files.check(tmp_path / name, schema).problems[0].rule == "readable"
    np.savez(tmp_path / "pickled.npz", x=np.array([{}], dtype=object))
    assert "pickle" in files.check(tmp_path / "pickled.npz", schema).problems[0].wanted
    (tmp_path / "cut.parquet").write_bytes(b"PAR1")
    with pytest.raises(ConfigError, match="rules of arrays"):
        files.check(tmp_path / "cut.parquet", schema)
    with pytest.raises(DataError, match="cannot be read as parquet"):
        files.infer(tmp_path / "cut.parquet")


def test_wrong_usage(schema, tmp_path):
    for name, says in {"nowhere.csv": "no such file", "a.xlsx": "ends in .npz, .csv"}.items():
        with pytest.raises(ConfigError, match=says):
            files.check(tmp_path / name, schema)
    with pytest.raises(ConfigError, match="slack"):
        files.infer(tmp_path / "clean.csv", slack=-1)


@pytest.mark.data
@pytest.mark.parametrize("name", ["adult.csv", "compas_two_years.csv", "sms_spam.tsv", "spambase.npz", "gtsrb32.npz"])
def test_real_files_pass_their_own_schema(name, real_data, tmp_path):
    path = real_data(name)
    schema = rules.write(files.infer(path)[0], tmp_path / "schema.yaml")
    assert files.check(path, schema).passed
