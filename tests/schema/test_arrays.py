"""Rules of arrays: what is clean passes its own schema, and what is broken is found with its place."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from privsec.schema import arrays
from privsec.schema.rules import Array, ArraySchema

ANY = st.sampled_from([np.uint8, np.int64, np.float32, np.float64, np.bool_]).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=4))
)


@settings(max_examples=50)
@given(st.dictionaries(st.sampled_from(["x", "y", "z"]), ANY, min_size=1))
def test_clean_arrays_pass_their_own_schema(given_arrays):
    schema, _ = arrays.infer(given_arrays)
    assert arrays.check(given_arrays, schema) == ()


@settings(max_examples=30)
@given(hnp.arrays(np.float32, (5, 3), elements=st.floats(-8, 8, width=32)), st.integers(0, 4), st.integers(0, 2))
def test_a_broken_value_is_found_with_its_record_and_column(x, row, column):
    schema, _ = arrays.infer({"x": x})
    for value, rule in ((np.nan, "finite"), (np.inf, "finite"), (9.0, "range")):
        broken = x.copy()
        broken[row, column] = value
        (problem,) = arrays.check({"x": broken}, schema)
        assert (problem.column, problem.rule, problem.records) == ("x", rule, 1)
        assert problem.examples == ((row, f"{np.float32(value)} in column {column}"),)


def test_labels_types_shapes_and_lengths():
    clean = {"x": np.arange(12, dtype=np.uint8).reshape(6, 2), "y": np.array([0, 1, 2, 0, 1, 2])}
    schema, remarks = arrays.infer(clean)
    assert not remarks and schema.same_length == (("x", "y"),)
    assert schema.arrays["y"] == Array(dtype="int64", shape=(None,), classes=3)
    other = {"x": np.zeros((6, 3), np.float32), "y": np.array([0, 1, 3, -1]), "z": np.zeros(2)}
    found = {(p.column, p.rule): p for p in arrays.check(other, schema)}
    assert set(found) == {("z", "known"), ("x", "dtype"), ("x", "shape"), ("y", "classes"), ("x, y", "same_length")}
    assert found["y", "classes"].examples == ((2, "3"), (3, "-1"))
    assert found["x", "shape"].wanted == "[any, 2]" and found["x", "shape"].examples == ((-1, "[6, 3]"),)
    assert [p.rule for p in arrays.check({"x": clean["x"]}, schema)] == ["present"]


def test_a_class_of_one_member_is_remarked_and_can_be_refused():
    y = np.array([0, 0, 1, 2, 2])
    schema, remarks = arrays.infer({"y": y})
    assert remarks == ("y: class 1 has one member",)
    strict = ArraySchema(arrays={"y": schema.arrays["y"].model_copy(update={"fewest": 2})}, fewest_records=6)
    found = {p.rule: p for p in arrays.check({"y": y}, strict)}
    assert set(found) == {"fewest", "fewest_records"} and found["fewest"].examples == ((2, "1"),)
    assert arrays.infer({"x": np.full((3, 2), 7)})[1] == ("x: constant, every value is 7",)
