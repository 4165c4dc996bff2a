from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privsec.core.errors import NotApplicable
from privsec.core.evidence import Reconstructions
from privsec.measures.gradient_inversion import MEASURES, GradientTruth, assigned, estimates, exhibits, measure
from tests.oracles import gradient_inversion as oracle

BATCH, BATCHES, TARGETS = 3, 2, 4
COUNT = BATCH * BATCHES


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def reconstructions(x, y):
    return Reconstructions(x, y, np.ones(x.shape[:2]), 10.0)


def shuffled(rng, x):
    """Every target's copies of the records, in another order within each batch."""
    order = np.concatenate([start + rng.permutation(BATCH) for start in range(0, COUNT, BATCH)])
    return x[order], order


@given(st.integers(1, 5), st.integers(0, 10**6))
def test_the_assignment_is_the_best_of_all(batch, seed):
    rng = np.random.default_rng(seed)
    records, found = rng.random((batch, 2, 2, 1)), rng.random((1, batch, 2, 2, 1))
    assert assigned(found, records, batch)[0].tolist() == list(oracle.best_assignment(found[0], records))


def test_order_within_a_batch_does_not_count_and_order_between_batches_does(rng):
    x, y = rng.random((COUNT, 6, 6, 1)), np.arange(COUNT)
    public = rng.random((20, 6, 6, 1))
    truth = GradientTruth(x, y, BATCH, public)
    mixed, order = shuffled(rng, x)
    noisy = mixed + rng.normal(scale=0.05, size=(TARGETS, *x.shape))
    found = measure(reconstructions(noisy, y[order]), truth)
    assert found["success"].tolist() == [1] * TARGETS and found["labels_right"].tolist() == [1] * TARGETS
    aligned = noisy[:, np.argsort(order)]
    expected = [np.mean([oracle.psnr(a, b, 1.0) for a, b in zip(each, x, strict=True)]) for each in aligned]
    np.testing.assert_allclose(found["psnr"], expected)
    swapped = np.roll(noisy, BATCH, axis=1)
    assert measure(reconstructions(swapped, y), truth)["success"].tolist() == [0] * TARGETS
    shown = exhibits(reconstructions(noisy, y[order]), truth)
    np.testing.assert_allclose(shown["x"], aligned, rtol=1e-6)
    assert shown["success"].all() and shown["nearest_public"].shape == x.shape


def test_the_null_is_the_better_of_public_records_and_control(rng):
    x, y = rng.random((COUNT, 6, 6, 1)), np.arange(COUNT)
    public = np.concatenate([x[:2] + 0.01, rng.random((5, 6, 6, 1))])  # two records were public all along
    found = np.repeat(x[None], 2, axis=0)
    truth = GradientTruth(x, y, BATCH, public)
    told = measure(reconstructions(found, y), truth)
    np.testing.assert_allclose(told["null_public"], 2 / 6)
    assert told["advantage"].tolist() == [1, 1] and np.isnan(told["null_control"]).all()
    control = np.stack([np.concatenate([x[:3], 1 - x[3:]]), 1 - x])
    told = measure(reconstructions(np.stack([x, public[np.zeros(COUNT, int)]]), y), truth._replace(control=control))
    np.testing.assert_allclose(told["null_control"], [0.5, 0])
    np.testing.assert_allclose(told["advantage"], [1, (1 / 6 - 2 / 6) / (1 - 2 / 6)])
    assert set(told) == set(MEASURES)
    everything = measure(reconstructions(1 - found, y), truth._replace(public=x))
    assert everything["advantage"].tolist() == [-1, -1]  # where every record was public there is nothing to gain
    answers = estimates(everything)
    assert all(each.low <= each.value <= each.high for each in answers.values() if each.resolved)


def test_records_of_a_table_are_compared_in_units_of_their_ranges(rng):
    width = np.array([10.0, 0.1, 0.0])
    x, y = rng.random((COUNT, 3)) * width, np.zeros(COUNT, int)
    far = x + width * 0.2
    told = measure(reconstructions(np.stack([x, far]), y), GradientTruth(x, y, BATCH, far, width=width))
    assert told["success"].tolist() == [1, 0] and "ssim" not in told
    np.testing.assert_allclose(told["mse"], [0, 0.04 * 2 / 3], atol=1e-12)
    assert told["labels_right"].tolist() == [1, 1]


def test_targets_that_all_succeed_are_no_certainty(rng):
    x, y = rng.random((COUNT, 6, 6, 1)), np.arange(COUNT)
    truth = GradientTruth(x, y, BATCH, rng.random((20, 6, 6, 1)))
    told = estimates(measure(reconstructions(np.repeat(x[None], TARGETS, axis=0), y), truth))
    batches = COUNT // BATCH  # the records of one come back together
    assert told["success"].n == told["batches"].value == batches
    assert told["success"].low == pytest.approx(0.025 ** (1 / batches)) and told["success"].high == 1
    assert told["advantage"].value == 1 and told["advantage"].low < 0.2  # two batches prove little
    alone = estimates(measure(reconstructions(np.repeat(x[None], TARGETS, axis=0), y), truth._replace(batch=1)))
    assert alone["success"].low == pytest.approx(0.025 ** (1 / COUNT)) and alone["advantage"].low > 0


def test_the_models_of_other_pairs_widen_the_interval(rng):
    x, y = rng.random((COUNT, 6, 6, 1)), np.arange(COUNT)
    truth = GradientTruth(x, y, 1, rng.random((20, 6, 6, 1)))
    half = np.concatenate([x[:3], 1 - x[3:]])
    found = np.stack([x, x, x, x, half, half, half, half])
    told = estimates(measure(reconstructions(found, y), truth))["success"]
    alike = estimates(measure(reconstructions(np.repeat(half[None], 8, axis=0), y), truth))["success"]
    assert told.value == pytest.approx(0.75) and alike.value == pytest.approx(0.5)
    assert told.value - told.low > alike.value - alike.low


def test_the_quality_of_one_pair_of_models_has_no_interval(rng):
    x, y = rng.random((COUNT, 6, 6, 1)), np.arange(COUNT)
    truth = GradientTruth(x, y, 1, rng.random((20, 6, 6, 1)))
    found = np.clip(x[None] + rng.normal(scale=0.05, size=(2, *x.shape)), 0, 1)
    told = estimates(measure(reconstructions(found, y), truth))
    for name in ("psnr", "ssim", "mse", "match"):
        assert (told[name].low, told[name].high) == MEASURES[name].bounds and "no interval" in told[name].note, name
    assert told["records"].low == told["records"].high == COUNT  # counted, not drawn


def test_a_missing_reconstruction_is_refused(rng):
    x, y = rng.random((COUNT, 6, 6, 1)), np.arange(COUNT)
    with pytest.raises(NotApplicable, match="every record of every batch needs one"):
        measure(reconstructions(x[None, :4], y[:4]), GradientTruth(x, y, BATCH, x))
