from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from privsec.core.data import Dataset
from privsec.core.errors import DataError
from privsec.data.validation import as_features, as_labels, check

GOOD = Dataset(
    x=np.arange(12, dtype=np.float32).reshape(6, 2),
    y=np.array([0, 1, 2, 0, 1, 2], np.int32),
    num_classes=3,
    feature_names=("height", "weight"),
    standardize=np.array([True, False]),
    sensitive={"sex": np.zeros(6, np.int32)},
)


def with_value(value: float, row: int, column: int) -> np.ndarray:
    x = GOOD.x.copy()
    x[row, column] = value
    return x


def test_a_good_data_set_passes_unchanged():
    assert check(GOOD, "mine") is GOOD


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": GOOD.x[:, 0]}, r"shape \(6,\); wanted \[N, D\] .* or \[N, H, W, C\]"),
        ({"x": GOOD.x.reshape(6, 2, 1)}, r"last axis of length 1"),
        ({"x": GOOD.x.astype(np.float64)}, "float64"),
        ({"y": GOOD.y.astype(np.int64)}, "int64"),
        ({"y": GOOD.y[:5]}, r"6 records but labels of shape \(5,\)"),
        ({"x": GOOD.x[:0], "y": GOOD.y[:0], "sensitive": {}}, "no records"),
        ({"x": GOOD.x[:, :0]}, "no features"),
        (
            {"x": with_value(np.nan, 4, 1)},
            r"nan in record 4, column 1 \('weight'\); 1 values in 1 records .*`missing:`",
        ),
        ({"x": with_value(-np.inf, 2, 0)}, r"-inf in record 2, column 0 \('height'\)"),
        ({"x": np.ones_like(GOOD.x)}, "all 6 records are the same"),
        ({"box": (0.0, 5.0), "standardize": None}, r"\[0, 11\], outside the box \[0\.0, 5\.0\]"),
        ({"box": (0.0, 20.0)}, "State one or the other"),
        ({"num_classes": 1}, "at least two"),
        ({"num_classes": 2}, r"label 2 of record 2 is outside 0\.\.1.*from 0"),
        ({"num_classes": 2**31 - 1}, "2147483647 classes for 6 records.*identifiers"),
        ({"y": GOOD.y - 1}, "label -1 of record 0 is outside"),
        ({"num_classes": 4}, "class 3 has 0.*number the classes without gaps"),
        ({"y": np.array([0, 1, 2, 0, 1, 1], np.int32)}, "at least 2 records, but class 2 has 1.*merge or drop"),
        ({"class_names": ("a",)}, "1 class names for 3 classes"),
        ({"feature_names": ("a",)}, "1 feature names for 2 columns"),
        ({"standardize": np.ones(3, bool)}, "`standardize` marks columns"),
        ({"sensitive": {"sex": np.zeros(5, np.int32)}}, "sensitive 'sex' has shape"),
    ],
)
def test_what_is_wrong_is_said(change, message):
    with pytest.raises(DataError, match=message) as caught:
        check(replace(GOOD, **change), "mine (there.npz)")
    assert str(caught.value).startswith("mine (there.npz): ")


def test_labels_become_int32():
    for given in ([1.0, 0.0], [[1], [0]], [True, False], np.array([1, 0], np.uint8)):
        y = as_labels(np.array(given), "mine")
        assert y.dtype == np.int32
        assert y.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([0, 1.5, 2.5], r"label 1\.5 of record 1 is not a whole number \(2 such labels\)"),
        ([0, np.nan], "label nan of record 1"),
        ([0, 2**40], "labels run from 0 to 1099511627776; are they classes"),
        ([0, 1e300], "are they classes"),
        (["cat", "dog"], "Number the classes"),
        ([[0, 1], [1, 0]], r"shape \(2, 2\); wanted one integer a record"),
    ],
)
def test_labels_that_are_none_are_refused(given, message):
    with pytest.raises(DataError, match=message):
        as_labels(np.array(given), "mine")


def test_byte_images_are_scaled_and_byte_tables_are_not():
    image = as_features(np.full((1, 2, 2, 3), 255, np.uint8), "mine")
    table = as_features(np.full((1, 2), 255, np.uint8), "mine")
    assert image.dtype == table.dtype == np.float32
    assert (image == 1).all()
    assert (table == 255).all()
    assert np.isinf(as_features(np.array([[1e300]]), "mine")).all()  # reported by check
    with pytest.raises(DataError, match="not numbers"):
        as_features(np.array([["a"]]), "mine")
