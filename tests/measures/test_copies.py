from __future__ import annotations

import numpy as np
import pytest

from privsec.measures import copies
from privsec.measures.copies import NEAR


def halves(count):
    rng = np.random.default_rng(0)
    first = rng.permutation(count) < count // 2
    return np.stack([first, ~first])


def counted(x, public=None, include=None):
    public = np.full((1, x.shape[1]), 1e3) if public is None else public
    include = halves(len(x)) if include is None else include
    return copies.copies(x, include, public, np.random.default_rng(1))


def test_different_records_are_no_copies():
    found = counted(np.random.default_rng(0).normal(size=(200, 8)))
    assert found == {"equal": 0, "public": 0, "near": 0, "across": 0.0}


def test_equal_and_nearly_equal_records_are_counted():
    x = np.random.default_rng(0).normal(size=(200, 8))
    x[100:110] = x[:10]  # 20 records of 10 pairs
    x[110:115] = x[20:25] + 1e-3  # and 5 more pairs that nearly are
    found = counted(x, public=x[[0, 50]])
    assert (found["equal"], found["near"]) == (20, 30)
    assert found["public"] == 3, "the first record, its copy, and record 50"


def test_records_across_a_split_are_those_with_a_copy_among_the_members():
    x = np.random.default_rng(0).normal(size=(40, 8))
    x[20:] = x[:20]
    apart = np.arange(40) < 20
    assert counted(x, include=np.stack([apart, ~apart]))["across"] == 1.0
    together = np.arange(40) % 20 < 10
    assert counted(x, include=np.stack([together, ~together]))["across"] == 0.0


def test_near_is_a_share_of_the_typical_distance():
    x = np.random.default_rng(0).normal(size=(300, 8))
    assert counted(1e4 * x)["near"] == counted(x)["near"] == 0
    typical = 4.0  # sqrt(2 * 8)
    for share, expected in ((0.8 * NEAR, 2), (1.5 * NEAR, 0)):
        x[1] = x[0] + share * typical / np.sqrt(8)
        assert counted(x)["near"] == expected


def test_of_many_records_only_equal_ones_are_looked_for(monkeypatch):
    monkeypatch.setattr(copies, "MOST", 100)
    x = np.random.default_rng(0).normal(size=(200, 8))
    x[1] = x[0]
    found = counted(x)
    assert "near" not in found and found["equal"] == 2


def test_pictures_are_compared_like_rows():
    x = np.random.default_rng(0).normal(size=(50, 4, 4, 1)).astype(np.float32)
    x[1] = x[0]
    found = copies.copies(x, halves(50), x[:1], np.random.default_rng(1))
    assert (found["equal"], found["near"], found["public"]) == (2, 2, 2)


def test_minus_zero_is_zero():
    x = np.arange(8.0).reshape(4, 2)
    x[0], x[1] = 0.0, -0.0
    assert counted(x)["equal"] == 2


@pytest.mark.parametrize("count", [1, 2])
def test_hardly_any_records(count):
    found = counted(np.zeros((count, 3)), include=np.ones((2, count), bool))
    assert found["across"] == 0.0 and found["equal"] == (0 if count == 1 else 2)
