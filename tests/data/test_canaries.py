from __future__ import annotations

import jax
import numpy as np
import pytest
from scipy import stats

from privsec.core.data import Examples
from privsec.core.errors import ConfigError, DataError
from privsec.data.canaries import MARK, Planted, plant

RNG = np.random.default_rng(0)
IMAGES = Examples(RNG.uniform(0.2, 1.0, (300, 4, 5, 1)).astype(np.float32), RNG.integers(0, 6, 300).astype(np.int32))
KINDS = ("mislabeled", "blank", "out_of_distribution")
KEY = jax.random.key(0)


@pytest.mark.parametrize("kind", KINDS)
def test_exactly_the_canaries_whose_coin_fell_heads_are_trained_on(kind):
    planted = plant(IMAGES, 80, kind, KEY)
    assert planted.canaries.size == 80 and planted.coins.dtype == bool
    untouched = np.setdiff1d(np.arange(planted.examples.size), planted.rows)
    assert planted.include[untouched].all()
    np.testing.assert_array_equal(planted.include[planted.rows], planted.coins)
    assert planted.train.size == len(untouched) + planted.coins.sum()
    assert planted.examples.x.dtype == np.float32 and planted.examples.y.dtype == IMAGES.y.dtype
    assert len(untouched) == (220 if kind == "mislabeled" else 300)
    np.testing.assert_array_equal(planted.examples.x[untouched], IMAGES.x[untouched])
    np.testing.assert_array_equal(planted.examples.y[untouched], IMAGES.y[untouched])


def test_a_mislabeled_canary_has_its_record_and_a_uniform_wrong_label():
    planted = plant(IMAGES, 300, "mislabeled", KEY)
    np.testing.assert_array_equal(planted.canaries.x, IMAGES.x[planted.rows])
    shift = (planted.canaries.y - IMAGES.y[planted.rows]) % 6
    assert (shift > 0).all()
    assert stats.chisquare(np.bincount(shift, minlength=6)[1:]).pvalue > 1e-4


def test_blank_canaries_differ_by_a_mark_only():
    planted = plant(IMAGES, 200, "blank", KEY, box=(0.0, 1.0))  # type: ignore[arg-type]
    x = planted.canaries.x.reshape(200, -1)
    assert ((x > 0).sum(axis=1) == MARK).all() and x.max() <= 1
    assert len(np.unique(x, axis=0)) == 200


def test_noise_fills_the_box():
    x = plant(IMAGES, 400, "out_of_distribution", KEY).canaries.x
    low, high = IMAGES.x.min(axis=0), IMAGES.x.max(axis=0)
    assert (x >= low).all() and (x <= high).all()
    assert stats.kstest(((x - low) / (high - low)).ravel(), "uniform").pvalue > 1e-4


def test_coins_are_fair_independent_and_owe_nothing_to_the_canaries():
    coins = np.stack([plant(IMAGES, 50, "blank", jax.random.key(seed)).coins for seed in range(100)])
    assert stats.binomtest(int(coins.sum()), coins.size, 0.5).pvalue > 1e-4
    assert stats.chisquare(np.bincount(coins.sum(axis=1) > 25, minlength=2)).pvalue > 1e-6
    spread = np.sum((coins.sum(axis=1) - 25) ** 2) / 12.5
    assert 1e-4 < stats.chi2.cdf(spread, 100) < 1 - 1e-4
    by_kind = [plant(IMAGES, 50, kind, KEY).coins for kind in KINDS]
    assert all((coins == by_kind[0]).all() for coins in by_kind)


@pytest.mark.parametrize("kind", KINDS)
def test_the_key_decides_and_a_file_remembers(kind, tmp_path):
    planted = plant(IMAGES, 40, kind, KEY)
    again, other = plant(IMAGES, 40, kind, KEY), plant(IMAGES, 40, kind, jax.random.key(1))
    loaded = Planted.load(planted.save(tmp_path / "canaries"))
    assert loaded.kind == kind
    for one in (again, loaded):
        for a, b in zip(jax.tree.leaves(planted.examples), jax.tree.leaves(one.examples), strict=True):
            np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(one.rows, planted.rows)
        np.testing.assert_array_equal(one.coins, planted.coins)
    assert (other.coins != planted.coins).any() and (other.canaries.y != planted.canaries.y).any()


def test_wrong_wishes_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="Did you mean 'mislabeled'"):
        plant(IMAGES, 4, "mislabelled", KEY)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="at least 1"):
        plant(IMAGES, 0, "blank", KEY)
    with pytest.raises(ConfigError, match="two classes"):
        plant(Examples(IMAGES.x, np.zeros(300, np.int32)), 4, "mislabeled", KEY)
    with pytest.raises(DataError, match="300 records"):
        plant(IMAGES, 301, "mislabeled", KEY)
    with pytest.raises(DataError, match="no such file"):
        Planted.load(tmp_path / "nothing.npz")
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    with pytest.raises(DataError, match="planted canaries"):
        Planted.load(tmp_path / "other.npz")
