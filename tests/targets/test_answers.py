from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from privsec.core.errors import ConfigError
from privsec.targets.answers import FLOOR, TargetError, check_kind, read
from tests.oracles import training as oracle

LOGITS = hnp.arrays(np.float64, (4, 3), elements=st.floats(-30, 30, width=32))


def softmax(logits):
    return np.exp(oracle.log_softmax(logits))


@given(LOGITS)
def test_every_kind_says_the_same(logits):
    expected = oracle.log_softmax(logits)
    shifted = logits + np.arange(1, 5)[:, None] * 7.3  # else a row might happen to look like probabilities
    kinds = {"probabilities": softmax(logits), "log_probabilities": expected, "logits": shifted}
    for answers, answer in kinds.items():
        got = read(answer, answers, rows=4, num_classes=3)  # type: ignore[arg-type]
        assert got.dtype == np.float32
        np.testing.assert_allclose(oracle.log_softmax(got), expected, atol=2e-5, err_msg=answers)
    labels = read(logits.argmax(1), "labels", rows=4, num_classes=3)
    assert (labels.argmax(1) == logits.argmax(1)).all()


@pytest.mark.parametrize("shape", [(5,), (5, 1)])
def test_of_two_classes_the_second_is_enough(shape):
    z = np.linspace(-3, 3, 5)
    expected = oracle.log_softmax(np.stack([np.zeros(5), z], axis=1))
    from_logits = read(z.reshape(shape), "logits", rows=5, num_classes=2)
    from_scores = read((1 / (1 + np.exp(-z))).reshape(shape), "probabilities", rows=5, num_classes=2)
    np.testing.assert_allclose(oracle.log_softmax(from_logits), expected, atol=1e-6)
    np.testing.assert_allclose(oracle.log_softmax(from_scores), expected, atol=1e-6)


def test_probabilities_keep_the_digits_of_the_other_classes_and_have_a_floor():
    answer = np.array([[1.0, 1e-30], [1.0, 0.0]])
    margins = np.diff(-read(answer, "probabilities", rows=2, num_classes=2), axis=1)[:, 0]
    np.testing.assert_allclose(margins, -np.log([1e-30, FLOOR]), rtol=1e-6)
    floored = read(answer, "probabilities", rows=2, num_classes=2, floor=0.005)
    np.testing.assert_allclose(floored[:, 1], np.log(0.005), rtol=1e-6)
    logs = read([[0.0, -np.inf]], "log_probabilities", rows=1, num_classes=2)
    np.testing.assert_allclose(logs, [[0, np.log(FLOOR)]], rtol=1e-6)


def test_rounded_probabilities_and_any_array_of_numbers_are_accepted():
    read([[0.33, 0.33, 0.33]], "probabilities", rows=1, num_classes=3)
    read(np.array([[0.25, 0.75]], np.float16), "probabilities", rows=1, num_classes=2)
    read([True, False], "labels", rows=2, num_classes=2)
    read([[1.0], [0.0]], "labels", rows=2, num_classes=3)
    assert np.isfinite(read([[1e300, -1e300]], "logits", rows=1, num_classes=2)).all()


WRONG = {
    "logits given as probabilities": (
        "probabilities",
        [[0.2, 0.8, 0.0], [-1.0, 3.0, 0.5]],
        "record 11.*pass answers='logits'",
    ),
    "large logits as probabilities": ("probabilities", [[0.2, 0.8, 0.0], [2.0, 3.0, 0.5]], "holds 3: .*'logits'"),
    "sigmoids as probabilities": ("probabilities", [[0.2, 0.8, 0.0], [0.9, 0.9, 0.5]], r"sums to 2\.3.*sigmoids"),
    "probabilities given as logits": ("logits", [[0.2, 0.8, 0.0], [0.1, 0.1, 0.8]], "pass answers='probabilities'"),
    "probabilities as log-probabilities": ("log_probabilities", [[0.2, 0.8, 0.0]] * 2, "'probabilities'"),
    "logits as log-probabilities": ("log_probabilities", [[2.0, -3.0, 0.0]] * 2, "'logits'"),
    "NaN": ("logits", [[1.0, 2.0, 3.0], [1.0, np.nan, 3.0]], "record 11 holds nan"),
    "NaN among probabilities": ("probabilities", [[np.nan] * 3, [1, 0, 0]], "record 10 holds nan"),
    "NaN among logarithms": ("log_probabilities", [[np.nan] * 3, [1, 0, 0]], "record 10 holds nan"),
    "NaN label": ("labels", [0, np.nan], "record 11 is nan"),
    "infinite logit": ("logits", [[1.0, 2.0, np.inf], [1.0, 2.0, 3.0]], "record 10 holds inf"),
    "too few rows": ("logits", [[1.0, 2.0, 3.0]], r"asked about 2 records.*shape \[1, 3\]"),
    "one number": ("logits", 3.0, "asked about 2 records"),
    "too few columns": ("logits", [[1.0, 2.0], [3.0, 4.0]], r"not \[2, 3\].*num_classes"),
    "one column of three": ("probabilities", [0.1, 0.2], r"not \[2, 3\]"),
    "labels as logits": ("logits", [2, 1], r"shape \[2\]"),
    "scores as labels": ("labels", [[1.0, 2.0, 3.0]] * 2, "pass answers='probabilities' or answers='logits'"),
    "labels from 1": ("labels", [1, 3], "record 11 is 3, which is no label.*from 0 to 2"),
    "labels between": ("labels", [1.5, 0], "record 10 is 1.5"),
    "text": ("labels", ["cat", "dog"], "cannot be read as an array of numbers"),
    "ragged": ("logits", [[1.0, 2.0], [3.0]], "cannot be read"),
    "nothing": ("logits", None, "cannot be read|asked about 2"),
    "a dict": ("logits", {"scores": [1]}, "dict.*cannot be read"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_answers_are_told(case):
    answers, answer, message = WRONG[case]
    with pytest.raises(TargetError, match=message):
        read(answer, answers, rows=2, num_classes=3, first=10)  # type: ignore[arg-type]


def test_wrong_answers_for_one_class_of_two():
    with pytest.raises(TargetError, match=r"record 1 is 2, no probability of class 1.*'logits'"):
        read([0.5, 2.0], "probabilities", rows=2, num_classes=2)
    with pytest.raises(TargetError, match="record 0 holds nan"):
        read([np.nan, 0.5], "probabilities", rows=2, num_classes=2)
    with pytest.raises(TargetError, match="answer both"):
        read([-0.5, -2.0], "log_probabilities", rows=2, num_classes=2)


def test_an_unknown_kind_names_the_nearest():
    with pytest.raises(ConfigError, match="Did you mean 'probabilities'"):
        check_kind("probabilites")
