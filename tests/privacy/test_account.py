import json
import math

import pytest

from privsec.core.errors import ConfigError
from privsec.core.recipe import DPEvent
from privsec.privacy import accounting
from privsec.privacy.account import Accounting, account, upward
from privsec.privacy.calibrate import noise_multiplier
from privsec.privacy.reconstruction import bound_from_event
from privsec.training.standard import Training

QUICK = {"sampling_rate": 0.1, "steps": 5, "delta": 1e-5}


@pytest.fixture(scope="module")
def quick():
    return account(**QUICK, noise_multiplier=2.0)


def test_golden_values():
    found = account(records=60_000, batch_size=600, epochs=10, noise_multiplier=1.0, delta=1e-5)
    assert found.event == DPEvent(0.01, 1.0, 1000)
    assert found.epsilon == pytest.approx(1.8282, abs=5e-5)
    assert found.epsilon_rdp == pytest.approx(2.101, abs=5e-4)
    assert [at.chance for at in found.membership] == [0.01, 0.001]
    assert [at.bound for at in found.membership] == pytest.approx([0.02914, 0.00407], abs=2e-5)
    assert found.membership_advantage == pytest.approx(0.1610, abs=1e-4)
    assert [at.bound for at in found.reconstruction] == pytest.approx([0.00407, 0.02914, 0.1942], abs=1e-4)
    assert found.warnings == ()
    assert "Poisson" in found.assumptions[0]


def test_it_says_what_the_accountants_say(quick):
    assert quick.epsilon == accounting.epsilon(quick.event, 1e-5) <= quick.epsilon_rdp
    assert [at.bound for at in quick.reconstruction] == bound_from_event(quick.event, [0.001, 0.01, 0.1]).tolist()
    assert account(**QUICK, noise_multiplier=2.0, kappas=[0.5]).reconstruction[0].chance == 0.5
    assert quick.asked_epsilon is None


def test_the_inverse_finds_the_noise_and_reads_out_the_same():
    found = account(**QUICK, epsilon=2.0)
    assert found.noise_multiplier == noise_multiplier(2.0, 1e-5, 0.1, 5)
    assert 1.99 < found.epsilon <= 2.0 == found.asked_epsilon
    given = account(**QUICK, noise_multiplier=found.noise_multiplier)
    assert found.model_copy(update={"asked_epsilon": None}) == given


@pytest.mark.parametrize(("records", "batch_size", "epochs"), [(1600, 100, 4), (1437, 100, 2), (30, 10, 3), (9, 9, 2)])
def test_epochs_are_those_of_a_training(records, batch_size, epochs):
    found = account(records=records, batch_size=batch_size, epochs=epochs, noise_multiplier=9.0, delta=1e-4)
    assert found.steps == Training(epochs=epochs, batch_size=batch_size).recipe(records).steps


def test_epochs_at_a_rate():
    common = {"noise_multiplier": 9.0, "delta": 1e-4}
    assert account(sampling_rate=0.1, epochs=1, **common).steps == 10
    assert account(sampling_rate=0.1, epochs=0.25, **common).steps == 3
    assert account(sampling_rate=0.3, epochs=2, **common).steps == 8


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"noise_multiplier": 0.0}, "no guarantee"),
        ({"noise_multiplier": 0.35, "steps": 1}, "above 10 excludes little"),
        ({"records": 1000, "delta": 1e-3}, "delta = 0.001 is not below 1 / records"),
        ({"sampling_rate": 1.0, "noise_multiplier": 20.0}, "Every step sees every record"),
    ],
)
def test_unwise_numbers_are_warned_of(change, said):
    assert said in " ".join(account(**{**QUICK, "noise_multiplier": 2.0, **change}).warnings)


def test_wise_numbers_are_not_warned_of(quick):
    assert quick.warnings == ()


def test_without_noise_every_bound_is_trivial_and_the_json_is_json():
    found = account(**QUICK, noise_multiplier=0.0)
    assert math.isinf(found.epsilon) and {at.bound for at in found.membership + found.reconstruction} == {1.0}
    assert found.membership_advantage == 1
    assert Accounting(**json.loads(found.model_dump_json(), parse_constant=pytest.fail)) == found
    assert "infinite" in [row.value for row in found.rows()]


def test_hardly_any_noise_is_answered_without_overflow():
    found = account(sampling_rate=1.0, steps=1, noise_multiplier=0.01, delta=1e-5)
    assert 5000 < found.epsilon < 6000
    assert found.membership_advantage == pytest.approx(1.0)


def test_rows_show_upper_bounds_rounded_upward(quick):
    rows = {row.name: row.value for row in quick.rows()}
    assert quick.epsilon <= float(rows["epsilon"]) <= quick.epsilon + 1e-3
    assert float(rows["TPR at 0.01 FPR"]) >= quick.membership[0].bound
    assert float(rows["reconstruction at prior 0.1"]) >= quick.reconstruction[2].bound
    assert rows["noise multiplier"] == "2" and all(row.meaning for row in quick.rows())
    assert "least that keeps epsilon at 2" in " ".join(row.meaning for row in account(**QUICK, epsilon=2.0).rows())


@pytest.mark.parametrize("value", [0.1, 0.3, 1.8282, 2.0, 1e-9])
def test_upward_is_never_below(value):
    assert value - 1e-9 <= float(upward(value)) < value + 1e-3


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"noise_multiplier": 1.0, "epsilon": 1.0}, "exactly one of noise_multiplier and epsilon"),
        ({}, "exactly one of noise_multiplier and epsilon"),
        ({"noise_multiplier": 1.0, "epochs": 2}, "exactly one of steps and epochs"),
        ({"noise_multiplier": 1.0, "steps": 0}, "at least one step"),
        ({"noise_multiplier": 1.0, "steps": None, "epochs": 0}, "at least one step"),
        ({"noise_multiplier": 1.0, "delta": 0.0}, "delta is a probability"),
        ({"noise_multiplier": 1.0, "sampling_rate": 1.2}, "a sampling rate is"),
        ({"noise_multiplier": 1.0, "records": 100, "batch_size": 10}, "a sampling rate, or records and batch size"),
        ({"noise_multiplier": 1.0, "sampling_rate": None}, "a sampling rate, or records and batch size"),
        ({"noise_multiplier": 1.0, "sampling_rate": None, "batch_size": 10}, "records=None"),
        ({"noise_multiplier": 1.0, "sampling_rate": None, "batch_size": 10, "records": 5}, "batch_size=10, records=5"),
        ({"noise_multiplier": -1.0}, "cannot be negative"),
        ({"epsilon": -1.0}, "epsilon > 0"),
    ],
)
def test_what_is_missing_or_impossible_is_named(wrong, said):
    with pytest.raises(ConfigError, match=said):
        account(**{**QUICK, **wrong})
