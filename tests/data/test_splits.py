from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privsec.core.data import Dataset
from privsec.core.errors import ConfigError, DataError
from privsec.core.keys import derive, root
from privsec.data.splits import MIN_PUBLIC, split, standardized

cases = st.tuples(st.integers(1, 60), st.integers(1, 6), st.integers(0, 50), st.integers(0, 2**32 - 1))


def records(count: int) -> Dataset:
    return Dataset(np.arange(2 * count, dtype=np.float32).reshape(count, 2), np.arange(count, dtype=np.int32) % 2, 2)


def drawn(case: tuple[int, int, int, int], **kwargs):
    size, pairs, spare, seed = case
    return split(records(2 * size + MIN_PUBLIC + spare), size, 2 * pairs, root(seed), **kwargs)


@given(cases)
@settings(max_examples=30, deadline=None)
def test_every_model_has_exactly_size_records_and_every_candidate_half_of_the_models(case):
    size, pairs, _, _ = case
    include = drawn(case).include
    assert include.shape == (2 * pairs, 2 * size)
    assert include.dtype == bool
    assert (include.sum(axis=1) == size).all()
    assert (include.sum(axis=0) == pairs).all()
    assert (include[0::2] == ~include[1::2]).all()


@given(cases, st.floats(0.01, 0.99))
@settings(max_examples=30, deadline=None)
def test_parts_are_disjoint_and_cover_everything(case, holdout):
    size, _, spare, _ = case
    parts = drawn(case, holdout=holdout)
    rows = np.concatenate([parts.candidates, parts.population, parts.holdout])
    assert sorted(rows) == list(range(2 * size + MIN_PUBLIC + spare))
    assert len(parts.candidates) == 2 * size
    assert min(len(parts.population), len(parts.holdout)) >= 1
    assert abs(len(parts.holdout) - holdout * (MIN_PUBLIC + spare)) <= 1
    assert all((np.diff(part) > 0).all() for part in parts[:3])


@given(cases, st.integers(1, 5))
@settings(max_examples=20, deadline=None)
def test_more_models_keep_the_earlier_ones(case, more):
    size, pairs, spare, seed = case
    few, many = drawn(case), drawn((size, pairs + more, spare, seed))
    assert np.array_equal(few.include, many.include[: 2 * pairs])
    assert all(np.array_equal(a, b) for a, b in zip(few[:3], many[:3], strict=True))


def test_a_pair_does_not_depend_on_what_was_drawn_before():
    data, key = records(100), derive(root(3), "splits")
    alone = split(data, 20, 8, key)
    for _ in range(3):
        split(data, 7, 4, derive(root(3), "other"))
        np.random.default_rng(0).random(5)
    assert np.array_equal(alone.include, split(data, 20, 8, key).include)
    assert not np.array_equal(alone.include, split(data, 20, 8, derive(root(4), "splits")).include)
    assert not np.array_equal(alone.include[0], alone.include[2])


@given(cases.filter(lambda case: case[1] >= 2))
@settings(max_examples=20, deadline=None)
def test_references_say_nothing_about_the_target_once_its_complement_is_dropped(case):
    include = drawn(case).include
    for target in range(len(include)):
        others = np.ones(len(include), bool)
        others[[target, target ^ 1]] = False
        assert set(include[others].sum(axis=0)) == {(len(include) - 2) // 2}  # the same for members and non-members


def test_membership_is_independent_across_pairs_and_candidates():
    """Over 400 pairs, agreement of two candidates and of two pairs is what independent exact halves give."""
    include = split(records(100), 40, 800, root(0)).include[0::2]
    together = (include[:, 0] == include[:, 1]).mean()
    assert abs(together - 39 / 79) < 4 * 0.5 / np.sqrt(400)
    overlap = (include[:-1] & include[1:]).sum(axis=1).mean()
    assert abs(overlap - 20) < 4 * np.sqrt(40 * 40 * 40 * 40 / (80**2 * 79) / 399)  # hypergeometric
    assert (abs(include.mean(axis=0) - 0.5) < 4.5 * 0.5 / np.sqrt(400)).all()


def test_candidates_are_a_random_sample():
    counts = np.zeros(60)
    for seed in range(200):
        counts[split(records(60), 15, 2, root(seed)).candidates] += 1
    assert (abs(counts / 200 - 0.5) < 4.5 * 0.5 / np.sqrt(200)).all()


@pytest.mark.parametrize("models", [0, 1, 3, -2])
def test_odd_models_are_refused(models):
    with pytest.raises(ConfigError, match=r"complementary pairs: write an even number"):
        split(records(100), 10, models, root(0))


@pytest.mark.parametrize(("size", "holdout", "text"), [(0, 0.5, "at least one record"), (5, 0.0, "strictly between")])
def test_senseless_sizes_are_refused(size, holdout, text):
    with pytest.raises(ConfigError, match=text):
        split(records(100), size, 2, root(0), holdout=holdout)


def test_too_few_records_state_the_largest_size_which_then_works():
    data = records(101)
    with pytest.raises(DataError, match=r"needs 82 candidates .* there are 101\. The largest possible size is 40\."):
        split(data, 41, 2, root(0))
    assert split(data, 40, 2, root(0)).include.shape == (2, 80)
    with pytest.raises(DataError, match="too small to be split"):
        split(records(MIN_PUBLIC + 1), 1, 2, root(0))


def test_standardized_uses_the_public_rows_alone():
    rng = np.random.default_rng(0)
    x = rng.normal(7, 3, (50, 4)).astype(np.float32)
    x[:, 3] = rng.integers(0, 2, 50)
    data = Dataset(x, np.zeros(50, np.int32), 2, standardize=np.array([True, True, False, False]))
    public = np.arange(20)
    scaled = standardized(data, public)
    np.testing.assert_allclose(scaled.x[public, :2].mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(scaled.x[public, :2].std(axis=0), 1, rtol=1e-6)
    assert np.array_equal(scaled.x[:, 2:], x[:, 2:])
    assert scaled.x.dtype == np.float32

    changed = x.copy()
    changed[20:] += 1000  # whatever the attacked records are, the public ones look the same
    again = standardized(Dataset(changed, data.y, 2, standardize=data.standardize), public)
    assert np.array_equal(again.x[public], scaled.x[public])
    assert standardized(scaled, public) is scaled  # done once
    assert np.array_equal(data.x, x)  # the original is left alone


def test_standardized_leaves_constant_columns_finite_and_images_alone():
    x = np.array([[5.0, 1], [5, 2], [9, 3]], np.float32)
    data = Dataset(x, np.zeros(3, np.int32), 2, standardize=np.array([True, True]))
    np.testing.assert_allclose(standardized(data, np.array([0, 1])).x, [[0, -1], [0, 1], [4, 3]])
    with pytest.raises(DataError, match="public"):
        standardized(data, np.array([], int))
    plain = records(4)
    assert standardized(plain, np.array([], int)) is plain
