from __future__ import annotations

import threading

import jax
import jax.monitoring
import numpy as np
import pytest

from privsec.core import axis
from privsec.core.data import Examples
from privsec.core.keys import derive
from privsec.defenses.training.dp_sgd import DPSGD
from privsec.nets.base import model_of
from privsec.nets.mlp import MLP
from privsec.training import many
from privsec.training.loop import train
from privsec.training.many import train_many
from privsec.training.stacks import stack
from privsec.training.standard import Training

FEATURES, CLASSES, RECORDS, MODELS = 6, 3, 20, 5
MODEL = model_of(MLP(hidden=(8,)), (FEATURES,), CLASSES)
KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
DATA = Examples(
    RNG.standard_normal((2 * RECORDS, FEATURES)).astype(np.float32),
    RNG.integers(0, CLASSES, 2 * RECORDS).astype(np.int32),
)
INCLUDE = np.stack([RNG.permutation(2 * RECORDS) < RECORDS for _ in range(MODELS)])
PLAIN = Training(batch_size=6, epochs=2, learning_rate=0.01).recipe(RECORDS)
PRIVATE = DPSGD(noise_multiplier=1.0).on_recipe(PLAIN)
both = pytest.mark.parametrize("recipe", [PLAIN, PRIVATE], ids=["plain", "dp_sgd"])


def trained(recipe, include=INCLUDE, **options) -> dict:
    return {m: result.params for m, result in train_many(MODEL, recipe, DATA, include, KEY, **options)}


def assert_same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


@both
def test_a_model_is_what_it_is_alone(recipe, monkeypatch):
    """Bit-identical for any number of models, order, subset and number of workers."""
    together = trained(recipe)
    assert sorted(together) == list(range(MODELS))
    for m in range(MODELS):
        assert_same(together[m], train(MODEL, recipe, DATA, INCLUDE[m], derive(KEY, "model", m)).params)
    for workers, models in [(1, [4, 0, 2]), (3, [2, 4])]:
        monkeypatch.setattr(axis, "workers", lambda workers=workers: workers)
        for m, params in trained(recipe, models=models).items():
            assert_same(params, together[m])
    for m, params in trained(recipe, include=INCLUDE[:2]).items():
        assert_same(params, together[m])


@both
def test_placement_changes_no_more_than_rounding(recipe, monkeypatch):
    monkeypatch.setattr(many, "VMAP_CHUNK", 3)  # two chunks, the second one padded
    by_threads, by_vmap = (trained(recipe, placement=placement) for placement in ("threads", "vmap"))
    assert sorted(by_vmap) == list(range(MODELS))
    for m in range(MODELS):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), by_threads[m], by_vmap[m])


@pytest.mark.parametrize("placement", ["threads", "vmap"])
def test_models_with_the_same_members_differ_in_everything_random(placement):
    """Initialization, order and noise: no two models of a population share a draw."""
    found = trained(PRIVATE, include=np.stack([INCLUDE[0]] * 3), placement=placement)
    for a, b in [(0, 1), (0, 2), (1, 2)]:
        assert not np.isclose(found[a]["dense"][0]["kernel"], found[b]["dense"][0]["kernel"], atol=1e-4).all()


def test_members_make_the_model():
    other = INCLUDE.copy()
    other[0] = ~other[0]
    before, after = trained(PLAIN, models=[0, 1]), trained(PLAIN, include=other, models=[0, 1])
    assert_same(before[1], after[1])
    assert (before[0]["dense"][0]["kernel"] != after[0]["dense"][0]["kernel"]).any()


@pytest.mark.parametrize("placement", ["threads", "vmap"])
def test_a_sweep_over_numbers_compiles_once(placement):
    def sweep(learning_rate, clip_norm, sigma):
        recipe = (
            DPSGD(noise_multiplier=sigma, clip_norm=clip_norm).on_recipe(PLAIN).with_rates(learning_rate=learning_rate)
        )
        return trained(recipe, placement=placement)

    sweep(0.01, 1.0, 1.0)
    compiled = []

    def listen(event: str, seconds: float, **_) -> None:
        if "backend_compile" in event:
            compiled.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        sweep(0.02, 0.5, 2.0)
        sweep(0.03, 5.0, 0.5)
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    assert not compiled


def test_no_models_is_no_work():
    assert trained(PLAIN, models=[]) == {}


def test_errors_arrive_and_threads_end():
    wrong = INCLUDE.copy()
    wrong[3] = True
    with pytest.raises(ValueError, match="for 20 records, and include_row names 40"):
        trained(PLAIN, include=wrong)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("privsec-model")]


def test_stack_puts_models_first():
    found = trained(PLAIN)
    stacked = stack([found[m] for m in range(MODELS)])
    for m in range(MODELS):
        assert_same(jax.tree.map(lambda leaf, m=m: leaf[m], stacked), found[m])
