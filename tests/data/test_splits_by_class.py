"""Halves by class: who knows which class, and that nobody else has a record of it where he should not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privsec.core.data import Dataset
from privsec.core.errors import DataError
from privsec.core.keys import root
from privsec.data.splits import split


def people(counts, seed=0) -> Dataset:
    y = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts)).astype(np.int32)
    return Dataset(np.arange(len(y), dtype=np.float32)[:, None], y, len(counts))


@given(st.lists(st.integers(8, 12), min_size=8, max_size=20), st.integers(0, 3), st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_a_class_is_known_to_one_model_of_a_pair_and_never_to_the_attacker(counts, fewer, seed):
    data = people(counts, seed)
    size = data.size // 4 - fewer
    parts = split(data, size, 6, root(seed), by="class")
    rows = np.concatenate(parts[:3])
    assert sorted(rows) == list(range(data.size))
    assert len(parts.candidates) == 2 * size and (parts.include.sum(axis=1) == size).all()
    assert (parts.include[0::2] == ~parts.include[1::2]).all()

    candidates, population, holdout = (data.y[part] for part in parts[:3])
    known = np.unique(candidates)
    assert not set(population) & set(known) and not set(population) & set(holdout)
    assert set(known) == set(holdout)  # evaluators know every person that a model may know
    for row in parts.include:  # one class at most is cut between a model and its twin
        assert len(set(candidates[row]) & set(candidates[~row])) <= 1

    totals, share = np.bincount(data.y)[known], 2 * size / (len(candidates) + len(holdout))
    assert np.all(np.abs(np.bincount(candidates)[known] - share * totals) <= 2)  # of at least eight


def test_growing_a_population_keeps_its_models_and_another_key_changes_them():
    data = people([10] * 12)
    few, many, other = (split(data, 30, m, root(s), by="class") for m, s in ((4, 1), (8, 1), (4, 2)))
    assert np.array_equal(few.include, many.include[:4]) and np.array_equal(few.candidates, many.candidates)
    assert not np.array_equal(few.candidates, other.candidates)
    assert not np.array_equal(many.include[0], many.include[2])


def test_every_class_is_somebodys_in_every_role():
    counts = np.zeros((2, 12))
    for seed in range(200):
        parts = split(people([10] * 12), 30, 2, root(seed), by="class")
        y = people([10] * 12).y
        counts[0, np.unique(y[parts.population])] += 1
        counts[1, np.unique(y[parts.candidates[parts.include[0]]])] += 1
    assert np.all(np.abs(counts[0] - 50) < 25)  # a quarter of the classes are the attacker's, give or take 4 sigma
    assert counts[1].max() - counts[1].min() < 60


def test_what_cannot_be_halved_by_class_is_refused():
    data = people([10] * 12)
    with pytest.raises(DataError, match=r"takes whole classes for the attacker \(1 of 12 here\).*smaller size"):
        split(data, 50, 2, root(0), by="class")
    with pytest.raises(DataError, match="at least two others"):
        split(people([60, 60]), 20, 2, root(0), by="class")
    with pytest.raises(DataError, match="come in tracks"):
        split(replace(data, tracks=np.arange(120, dtype=np.int32)), 20, 2, root(0), by="class")
