"""Rules of tables: what is clean passes its own schema, and what is broken is found with its place."""

from __future__ import annotations

import sys

import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from privsec.core.errors import ConfigError
from privsec.schema import tables
from privsec.schema.rules import MISSING_VALUES, Column, TableSchema

NUMBERS = st.floats(-1e6, 1e6, allow_nan=False).map(str) | st.integers(-1000, 1000).map(str)
CELLS = st.one_of(NUMBERS, st.sampled_from(["a", "b", "C d", "ü", "1e999", "-inf", *MISSING_VALUES]))


@st.composite
def frames(draw, least=1):
    count = draw(st.integers(least, 12))
    kinds = draw(st.lists(st.sampled_from([NUMBERS, CELLS, st.sampled_from(["x", "y"])]), min_size=1, max_size=3))
    columns = {f"c{i}": draw(st.lists(kind, min_size=count, max_size=count)) for i, kind in enumerate(kinds)}
    return pd.DataFrame(columns, dtype=object)


@settings(max_examples=30)
@given(frames())
def test_clean_data_pass_their_own_schema(frame):
    schema, _ = tables.infer(frame)
    assert tables.check(frame, schema) == ()


@settings(max_examples=30)
@given(frames(least=2), st.data())
def test_a_broken_cell_is_found_with_its_record_and_value(frame, data):
    schema, _ = tables.infer(frame)
    name = data.draw(st.sampled_from(list(frame.columns)))
    column = schema.columns[name]
    assume(column.type != "text" and not column.unique)
    row = data.draw(st.integers(0, len(frame) - 1))
    assert column.type == "category" or column.high is not None
    value, rule = ("nobody", "values") if column.type == "category" else (str(column.high + 1.0), "range")
    broken = frame.copy()
    broken.loc[row, name] = value
    found = [problem for problem in tables.check(broken, schema) if problem.rule == rule]
    assert [(problem.column, problem.records, problem.examples) for problem in found] == [(name, 1, ((row, value),))]


def test_every_rule_is_enforced():
    rules = {
        "age": Column(type="integer", low=0, high=120),
        "weight": Column(type="number"),
        "sex": Column(type="category", values=("f", "m"), fewest=2),
        "name": Column(type="text", longest=4, unique=True),
        "ward": Column(type="text", constant=False, missing=True),
        "income": Column(type="number"),
    }
    frame = pd.DataFrame(
        {
            "age": ["20", "121", "2.5", "x", "?"],
            "weight": ["50", "inf", "5e1", "-3.2", "1"],
            "sex": ["f", "f", "m", "d", "f"],
            "name": ["ann", "bob", "ann", "christopher", "dan"],
            "ward": ["a", "a", "a", "a", ""],
            "incme": ["1"] * 5,
        },
        dtype=object,
    )
    found = {
        (problem.column, problem.rule): (problem.records, problem.examples)
        for problem in tables.check(frame, TableSchema(columns=rules, fewest_records=6))
    }
    assert found == {
        ("income", "present"): (0, ()),
        ("incme", "known"): (0, ()),
        ("", "fewest_records"): (5, ()),
        ("age", "missing"): (1, ((4, "?"),)),
        ("age", "type"): (2, ((2, "2.5"), (3, "x"))),
        ("age", "range"): (1, ((1, "121"),)),
        ("weight", "type"): (1, ((1, "inf"),)),
        ("sex", "values"): (1, ((3, "d"),)),
        ("sex", "fewest"): (2, ((2, "m"), (3, "d"))),
        ("name", "longest"): (1, ((3, "christopher"),)),
        ("name", "unique"): (2, ((0, "ann"), (2, "ann"))),
        ("ward", "constant"): (5, ((0, "a"),)),
    }


def test_types_are_told_by_the_cells():
    frame = pd.DataFrame(
        {
            "id": [str(i) for i in range(30)],
            "share": [str(i / 7) for i in range(30)],
            "kind": ["a", "b", ""] * 10,
            "text": [f"words {i}" for i in range(30)],
            "same": ["1.0"] * 30,
            "none": ["NA"] * 30,
        },
        dtype=object,
    )
    schema, remarks = tables.infer(frame, slack=0.1)
    assert schema.columns["id"] == Column(type="integer", low=-3, high=32, unique=True)
    share = schema.columns["share"]
    assert share.type == "number" and share.high == pytest.approx(29 / 7 * 1.1) and not share.unique
    assert schema.columns["kind"] == Column(type="category", values=("a", "b"), missing=True)
    assert schema.columns["text"] == Column(type="text", longest=8, unique=True)
    assert schema.columns["none"] == Column(type="text", missing=True)
    assert remarks == ("same: constant, every record has '1.0'", "none: every cell is missing")


def test_without_pandera_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandera.pandas", None)
    with pytest.raises(ConfigError, match=r"pip install 'privsec\[data\]'"):
        tables.check(pd.DataFrame({"a": ["1"]}), TableSchema(columns={"a": Column(type="integer")}))
