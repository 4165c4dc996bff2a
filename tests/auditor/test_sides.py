"""What an auditor may hand over: files, tables, arrays - and what is refused."""

from __future__ import annotations

import builtins

import numpy as np
import pandas as pd
import pytest

from privsec.auditor.audit import audit
from privsec.auditor.sides import both_sides, side_of
from privsec.core.errors import ConfigError, DataError

LOSS = np.array([0.1, 0.2, 0.3, 4.0])


def test_bare_arrays_and_npy_files_are_scores_unless_said_otherwise(tmp_path):
    np.save(tmp_path / "a.npy", LOSS)
    for given in (LOSS, LOSS.tolist(), LOSS[:, None], tmp_path / "a.npy", str(tmp_path / "a.npy")):
        side = side_of(given, "members", records=False)
        assert side.what == "score" and np.array_equal(side.values, LOSS)
    assert side_of(LOSS, "members", records=False, what="loss").what == "loss"


@pytest.mark.parametrize("form", ["frame", "mapping", "csv", "npz"])
def test_named_columns_say_what_they_are(form, tmp_path):
    columns = {"loss": LOSS, "label": np.array(["x", "y", "x", "y"]), "group": np.arange(4), "id": np.arange(4)}
    columns |= {"slice_sex": np.array(["f", "m", "m", "f"]), "feature_1": LOSS, "feature_0": -LOSS}
    frame = pd.DataFrame(columns)
    frame.to_csv(tmp_path / "a.csv", index=False)
    np.savez(tmp_path / "a.npz", **columns)
    given = {"frame": frame, "mapping": columns, "csv": tmp_path / "a.csv", "npz": tmp_path / "a.npz"}[form]
    side = side_of(given, "members", records=False)
    assert side.what == "loss" and np.array_equal(side.values, LOSS)
    assert side.labels.tolist() == ["x", "y", "x", "y"] and side.slices["sex"].tolist() == ["f", "m", "m", "f"]
    assert np.array_equal(side.x, np.stack([-LOSS, LOSS], axis=1))
    assert side.groups.tolist() == side.identifiers.tolist() == [0, 1, 2, 3]


def test_numbered_columns_are_put_in_the_order_of_their_numbers():
    columns = {f"logit_{i}": np.full(3, float(i)) for i in (10, 2, 0, 1, 3, 4, 5, 6, 7, 8, 9)}
    side = side_of({**columns, "label": [0, 1, 2]}, "members", records=False)
    assert side.what == "logits" and side.values[0].tolist() == [float(i) for i in range(11)]


def test_a_csv_without_a_header_is_a_column_of_numbers(tmp_path):
    (tmp_path / "a.csv").write_text("0.5\n1.5\n2.5\n")
    assert side_of(tmp_path / "a.csv", "members", records=False).values.tolist() == [0.5, 1.5, 2.5]


def test_one_table_of_both_sides():
    frame = pd.DataFrame({"score": np.arange(6.0), "member": [0, 1, 0, 1, 1, 0]})
    members, others = both_sides(frame, None, records=False)
    assert members.values.tolist() == [1, 3, 4] and others.values.tolist() == [0, 2, 5]
    renamed = frame.rename(columns={"member": "trained"}).replace({"trained": {0: "False", 1: "True"}})
    again, _ = both_sides(renamed.astype({"trained": str}), None, records=False, member_column="trained")
    assert len(again.values) == 3 or again.size == 3
    with pytest.raises(DataError, match="0 and 1"):
        both_sides(frame.assign(member=2), None, records=False)
    with pytest.raises(ConfigError, match="no non-members"):
        both_sides(frame.drop(columns="member"), None, records=False)


@pytest.mark.parametrize(
    ("table", "settings", "words"),
    [
        ({"a": [1.0], "b": [2.0]}, {}, "no column says"),
        ({"loss": [1.0], "score": [2.0]}, {}, "say which one"),
        ({"loss": [1.0]}, {"what": "score"}, "Leave `what` away"),
        ({"score": [1.0], "label": [1, 2]}, {}, "1 records but 2 labels"),
    ],
)
def test_tables_that_cannot_be_understood(table, settings, words):
    with pytest.raises(DataError, match=words):
        side_of(table, "members", records=False, **settings)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.txt", b"1", "files of scores"),
        ("a.npy", b"broken", "cannot be read as .npy"),
        ("a.npz", b"broken", "cannot be read as .npz"),
        ("a.csv", b"", "cannot be read as .csv"),
        ("a.csv", b"score\n1\n2\n", "given twice"),
    ],
)
def test_files_that_cannot_be_read(name, content, words, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=words):
        audit(tmp_path / name, tmp_path / name)


def test_a_column_of_text_is_no_column_of_scores(tmp_path):
    (tmp_path / "a.csv").write_text("score\n1\nmissing\n")
    (tmp_path / "b.csv").write_text("score\n3\n4\n")
    with pytest.raises(DataError, match="not numbers"):
        audit(tmp_path / "a.csv", tmp_path / "b.csv")


def test_a_missing_file_names_the_nearest(tmp_path):
    np.save(tmp_path / "members.npy", LOSS)
    with pytest.raises(DataError, match=r"no such file.*members\.npy"):
        side_of(tmp_path / "member.npy", "members", records=False)


def test_nothing_is_unpickled(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{"evil": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="cannot be read"):
        side_of(tmp_path / "a.npy", "members", records=False)


def test_parquet_without_its_reader_names_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.split(".")[0] in ("pyarrow", "fastparquet"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError, match=r"privsec\[parquet\]"):
        side_of(tmp_path / "a.parquet", "members", records=False)


def test_parquet_is_read_where_it_can_be(tmp_path):
    pytest.importorskip("pyarrow")
    pd.DataFrame({"loss": LOSS}).to_parquet(tmp_path / "a.parquet")
    assert side_of(tmp_path / "a.parquet", "members", records=False).what == "loss"
