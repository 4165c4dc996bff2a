"""Schemas: read, written, and refused where they contradict themselves."""

from __future__ import annotations

import pytest

from privsec.core.errors import ConfigError
from privsec.schema import rules
from privsec.schema.rules import Array, ArraySchema, Column, TableSchema


@pytest.mark.parametrize(
    "schema",
    [
        TableSchema(columns={"age": Column(type="integer", low=17, high=90.0), "é: x": Column(type="text", longest=3)}),
        TableSchema(columns={"sex": Column(type="category", values=("f", "no"), missing=True)}, delimiter="\t"),
        ArraySchema(
            arrays={
                "x": Array(dtype="float32", shape=(None, 3), low=-1e-7, high=1e30),
                "y": Array(dtype="int64", shape=(None,), classes=3),
            },
            same_length=(("x", "y"),),
        ),
    ],
)
def test_what_is_written_is_read_back(schema, tmp_path):
    path = rules.write(schema, tmp_path / "schema.yaml")
    assert rules.load(path) == schema and rules.load(path).digest == schema.digest


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("kind: table\ncolumns:\n  age: {type: integer, low: 9, high: 3}", "columns.age: the range is empty"),
        ("kind: table\ncolumns:\n  sex: {type: category}", "columns.sex: a category says its `values`"),
        ("kind: table\ncolumns:\n  sex: {type: text, high: 3}", "a text has no range"),
        ("kind: table\ncolumns:\n  sex: {type: text, values: [a]}", "a category says its `values`, and nothing else"),
        ("kind: table\ncolumns:\n  sex: {type: category, values: [a, a]}", "none twice"),
        ("kind: table\ncolumns:\n  sex: {type: category, values: [a, NA]}", "'NA', which `missing_values` calls"),
        ("kind: table\ncolumns:\n  id: {type: integer, unique: true, fewest: 2}", "`unique` allows a value one record"),
        ("kind: table\ncolumns:\n  id: {type: integer, uniqe: true}", "Did you mean 'unique'"),
        ("kind: table\ncolumns: {}", "columns"),
        ("kind: arrays\narrays:\n  x: {dtype: flot32, shape: [null]}", "arrays.x: 'flot32' is no type of NumPy"),
        ("kind: arrays\narrays:\n  x: {dtype: uint8, shape: [null, 3], classes: 3}", "labels are [N]"),
        ("kind: arrays\narrays:\n  x: {dtype: uint8, shape: [null]}\nsame_length: [[x, y]]", "names 'y'"),
        ("kind: tables", "`kind: table`"),
        ("a: [", "is not YAML"),
        ("", "`kind: table`"),
    ],
)
def test_a_schema_that_contradicts_itself_is_refused(text, says, tmp_path):
    (tmp_path / "schema.yaml").write_text(text)
    with pytest.raises(ConfigError) as error:
        rules.load(tmp_path / "schema.yaml")
    assert says in str(error.value) and "schema.yaml" in str(error.value)


def test_a_missing_schema_says_how_to_make_one(tmp_path):
    with pytest.raises(ConfigError, match="privsec data schema FILE"):
        rules.load(tmp_path / "schema.yaml")
