from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privsec.core.errors import DataError
from privsec.measures.utility import calibration_error, estimates, measure
from tests.oracles import measures as oracle

MEMBER = np.array([[True, True, False, False], [False, False, True, True]])
CORRECT = np.array([[1, 1, 1, 0], [0, 0, 1, 0]])


def test_accuracy_on_own_records_and_on_others():
    got = measure(CORRECT, MEMBER)
    assert got["train_accuracy"].tolist() == [1.0, 0.5]
    assert got["test_accuracy"].tolist() == [0.5, 0.0]
    assert got["gap"].tolist() == [0.5, 0.5]
    assert np.isnan(got["calibration_error"]).all()


def test_calibration_looks_only_at_records_outside_the_training_set():
    log_top = np.log(np.array([[0.1, 0.1, 0.5, 0.5], [1.0, 1.0, 0.1, 0.1]]))
    got = measure(CORRECT, MEMBER, log_top)["calibration_error"]
    assert got[0] == pytest.approx(calibration_error(np.array([0.5, 0.5]), np.array([1, 0])))
    assert got[1] == 1.0  # sure and always wrong


def test_estimates_have_directions_and_reasons():
    got = estimates(measure(CORRECT, MEMBER), [0, 1], records=2)
    assert got["test_accuracy"].direction == "higher_is_better" and got["gap"].direction == "higher_is_worse"
    assert got["calibration_error"].note == "this endpoint answers without scores"
    perfect = estimates({"train_accuracy": np.ones(8)}, np.arange(8) // 2, records=100)["train_accuracy"]
    assert perfect.value == perfect.high == 1 and 0.95 < perfect.low < 0.97


@pytest.mark.parametrize(
    ("correct", "member", "top"),
    [(CORRECT[:, :3], MEMBER, None), (CORRECT, MEMBER, CORRECT[:1]), (CORRECT, MEMBER | True, None)],
)
def test_answers_that_do_not_fit_are_refused(correct, member, top):
    with pytest.raises(DataError):
        measure(correct, member, top)


def test_calibration_error_is_the_plain_one_where_there_is_no_noise():
    confidence = np.linspace(0.2, 0.9, 60)
    for correct in (np.ones(60), np.zeros(60)):
        assert calibration_error(confidence, correct) == pytest.approx(
            oracle.calibration_error(confidence, correct, 15)
        )


def test_the_correction_lowers_the_bias_of_a_calibrated_model_and_spares_a_real_error():
    rng = np.random.default_rng(0)
    plain, corrected, off = [], [], []
    for _ in range(200):
        confidence = rng.beta(5, 2, 300)
        correct = (rng.random(300) < confidence).astype(float)
        plain.append(oracle.calibration_error(confidence, correct, 15))
        corrected.append(calibration_error(confidence, correct))
        off.append(calibration_error(np.full(300, 0.9), rng.random(300) < 0.6))
    assert np.mean(corrected) < 0.7 * np.mean(plain)
    assert np.mean(off) == pytest.approx(0.3, abs=4 * math.sqrt(0.24 / 300 / 200))


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_calibration_error_is_a_share_and_ignores_the_order(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 80))
    confidence, correct = rng.integers(1, 6, n) / 5, rng.integers(0, 2, n)  # rounded scores: many equal ones
    shuffle = rng.permutation(n)
    value = calibration_error(confidence, correct)
    assert 0 <= value <= 1
    assert calibration_error(confidence[shuffle], correct[shuffle]) == pytest.approx(value)
