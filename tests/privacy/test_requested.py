from __future__ import annotations

import pytest

from privsec.core.errors import ConfigError
from privsec.privacy.account import Accounting
from privsec.privacy.ledger import Ledger, OverBudget
from privsec.privacy.requested import requested

TRAINING = {"records": 1000, "batch_size": 100, "steps": 10, "noise_multiplier": 2.0, "delta": 1e-5}


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "people.csv"
    path.write_text("a,b\n1,2\n")
    return path


def entered(tmp_path, data, **more):
    return requested(ledger=tmp_path / "book.json", title="first", released="weights", data=data, **TRAINING, **more)


def test_a_training_is_accounted():
    answer = requested(**TRAINING, epochs=None, ledger=None)
    assert isinstance(answer.numbers, Accounting) and answer.numbers.steps == 10
    assert answer.rows == answer.numbers.rows()


def test_it_is_entered_and_read_again(tmp_path, data):
    first = entered(tmp_path, data, budget=5.0)
    again = requested(ledger=tmp_path / "book.json", steps=None)
    assert again.numbers == first.numbers
    assert first.numbers.entries == 1 and first.numbers.epsilon == pytest.approx(requested(**TRAINING).numbers.epsilon)


def test_the_budget_is_kept_unless_a_reason_is_given(tmp_path, data):
    entered(tmp_path, data, budget=1.0)
    for _ in range(9):
        try:
            entered(tmp_path, data)
        except OverBudget:
            break
    else:
        pytest.fail("ten trainings fit a budget of 1")
    before = len(Ledger.open(tmp_path / "book.json").entries)
    assert entered(tmp_path, data, force="released already").numbers.entries == before + 1
    with pytest.raises(ConfigError, match="which stands"):
        entered(tmp_path, data, budget=50.0)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({**TRAINING, "delta": None}, "--delta"),
        ({**TRAINING, "title": "first"}, "name its file"),
        ({**TRAINING, "ledger": "book.json", "title": "first"}, "--released"),
    ],
)
def test_what_is_missing_is_named(given, said, tmp_path, data):
    given = {**given, "ledger": tmp_path / given["ledger"]} if "ledger" in given else given
    with pytest.raises(ConfigError, match=said):
        requested(**given)


def test_a_missing_data_file_is_no_traceback(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        entered(tmp_path, tmp_path / "gone.csv")
