"""Two spam filters' data: messages as hashed bags of words, e-mails as frequencies."""

from __future__ import annotations

import numpy as np
import pytest

from privsec.core.errors import DataError
from privsec.data.sms_spam import SMSSpam, bag, column_of
from privsec.data.spambase import COLUMNS, Spambase

MESSAGES = (
    'ham\tsee you "later\nspam\tFREE prize! call 08001234567\nham\tok\nspam\tfree FREE call 08007654321 prize !\n'
)


@pytest.mark.parametrize("header", ["", "label\ttext\n"])
def test_a_message_is_the_set_of_its_words(tmp_path, header):
    (tmp_path / "s.tsv").write_text(header + MESSAGES)
    data = SMSSpam(path=str(tmp_path / "s.tsv"), width=4096).load()
    assert data.y.tolist() == [0, 1, 0, 1] and data.x.shape == (4, 4096) and data.box == (0.0, 1.0)
    assert np.array_equal(data.x[1], data.x[3]), "case, order, repetition and the digits of a number do not matter"
    assert np.linalg.norm(data.x, axis=1) == pytest.approx(1)
    assert data.x[1, column_of("free", 4096)] > 0 and data.x[0, column_of("free", 4096)] == 0
    assert not bag("...", 64).any()


def test_a_records_features_are_its_own(tmp_path):
    (tmp_path / "a.tsv").write_text(MESSAGES)
    (tmp_path / "b.tsv").write_text(MESSAGES + "ham\tmany other words\n")
    first, second = (SMSSpam(path=str(tmp_path / name)).load().x for name in ("a.tsv", "b.tsv"))
    assert np.array_equal(first, second[:4])


@pytest.mark.parametrize(("text", "says"), [("a\tb\n", "not ham or spam"), ("ham\n", "1 cells a line"), ("", "empty")])
def test_other_files_are_refused(tmp_path, text, says):
    (tmp_path / "s.tsv").write_text(text)
    with pytest.raises(DataError, match=says):
        SMSSpam(path=str(tmp_path / "s.tsv")).load()


def test_spambase_in_two_layouts(tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.random((6, 57)).round(3), np.arange(6) % 2
    np.savez(tmp_path / "s.npz", features=x.astype(np.float32), labels=y)
    np.savetxt(tmp_path / "s.data", np.column_stack([x, y]), delimiter=",", fmt="%g")
    first, second = (Spambase(path=str(tmp_path / name)).load() for name in ("s.npz", "s.data"))
    assert np.array_equal(first.x, second.x) and first.y.tolist() == second.y.tolist() == y.tolist()
    assert len(COLUMNS) == 57 and first.feature_names[15] == "word free" and first.standardize.all()
    np.savez(tmp_path / "t.npz", features=x[:, :5], labels=y)
    with pytest.raises(DataError, match=r"wanted \[N, 57\]"):
        Spambase(path=str(tmp_path / "t.npz")).load()


@pytest.mark.data
def test_the_real_files(real_data):
    from sklearn.linear_model import LogisticRegression

    messages = SMSSpam(path=str(real_data("sms_spam.tsv"))).load()
    assert messages.size == 5574 and int(messages.y.sum()) == 747
    fitted = LogisticRegression(max_iter=500, C=10).fit(messages.x[::2], messages.y[::2])
    assert fitted.score(messages.x[1::2], messages.y[1::2]) > 0.97
    mails = Spambase(path=str(real_data("spambase.npz"))).load()
    assert mails.size == 4601 and int(mails.y.sum()) == 1813
    free = mails.feature_names.index("word free")
    assert mails.x[mails.y == 1, free].mean() > 3 * mails.x[mails.y == 0, free].mean()
