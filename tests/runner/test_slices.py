"""A run tells who pays for the average: membership by class and by sensitive attribute."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from privsec.data.digits import Digits
from privsec.runner.execute import run
from privsec.runner.slices import COLUMNS


@pytest.fixture
def people(monkeypatch):
    """Digits whose records belong to two groups; the labels of the second are noise, so a model must memorize them."""
    original = Digits.load

    def load(self):
        data = original(self)
        rng = np.random.default_rng(0)
        group = (rng.random(data.size) < 0.4).astype(np.int32)
        y = np.where(group == 1, rng.integers(0, 10, data.size), data.y).astype(np.int32)
        return replace(data, y=y, sensitive={"ward": group})

    monkeypatch.setattr(Digits, "load", load)


def test_every_membership_cell_is_told_by_class_and_group(small, tmp_path, quiet, people):
    small["training"] = {"epochs": 60, "batch_size": 20, "learning_rate": 3e-3}
    results = run(small, out=tmp_path, narrator=quiet)
    found = pd.read_csv(results.folder / "slices.csv", dtype={"slice": str})
    assert tuple(found.columns) == COLUMNS
    pairs = set(zip(found.defense, found.attack, strict=True))
    assert pairs == {(d, a) for d in ("none", "rounding") for a in ("loss", "lira")}
    rows = found[(found.defense == "none") & (found.attack == "loss")]
    assert set(rows[rows.attribute == "class"].slice) == set("0123456789")
    wards = rows[(rows.attribute == "ward") & (rows.measure == "auc_against_rest")].set_index("slice")
    assert list(wards.index) == ["ward 0", "ward 1"] and (wards.seed == "all").all() and (wards.n == 8).all()
    assert wards.loc["ward 1", "low"] > 0 > wards.loc["ward 0", "high"] and (wards.p_holm < 0.01).all()
    own = rows[rows.measure == "tpr_at_1pct_fpr"]
    assert own[own.attribute == "class"].value.isna().all() and own.reason.str.contains("non-members").all()


def test_a_finished_run_writes_the_same_slices(small, tmp_path, quiet):
    small["seeds"] = [0]
    first = run(small, out=tmp_path, narrator=quiet)
    before = (first.folder / "slices.csv").read_bytes()
    run(small, out=tmp_path, narrator=quiet)
    assert (first.folder / "slices.csv").read_bytes() == before
