from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from experiments.canaries.bugs import BUGS
from privsec.auditor import canary_run, training
from privsec.auditor.training import audit_recipe, audit_training
from privsec.core.data import Examples
from privsec.core.errors import ConfigError, DataError
from privsec.defenses.training.dp_sgd import DPSGD
from privsec.defenses.training.mixup import Mixup
from privsec.nets.base import model_of
from privsec.nets.mlp import MLP
from privsec.privacy import accounting
from privsec.training import dirac, loop, observe
from privsec.training.gradients import PrivateGradient, cross_entropy
from privsec.training.standard import Training

FEATURES, CLASSES, RECORDS = 12, 4, 400
MODEL = model_of(MLP(hidden=(8,)), (FEATURES,), CLASSES)
RNG = np.random.default_rng(0)
DATA = Examples(
    RNG.standard_normal((3 * RECORDS, FEATURES)).astype(np.float32),
    RNG.integers(0, CLASSES, 3 * RECORDS).astype(np.int32),
)
PLAIN = Training(optimizer="sgd", learning_rate=0.1, batch_size=20, epochs=10).recipe(RECORDS)
PRIVATE = DPSGD(noise_multiplier=3.8).on_recipe(PLAIN)
KEY = jax.random.key(3)


def gradient_audit(recipe, seed=0, canaries=2000, **given):
    given = {"kind": "gradient", "access": "white-box", "key": jax.random.key(seed), **given}
    return audit_recipe(MODEL, recipe, DATA, canaries=canaries, **given)


QUICK = ("noise multiplier forgotten", "clipping forgotten", "same noise every step", "same batch every step")
LONGER = ("noise divided by the batch", "batch clipped, not records")


@pytest.mark.parametrize("bug", [*QUICK, *(pytest.param(bug, marks=pytest.mark.slow) for bug in LONGER)])
def test_a_broken_implementation_is_contradicted(bug):
    audit = gradient_audit(BUGS[bug](PRIVATE))
    assert audit.claim is not None and audit.claim.epsilon < 1.01
    assert audit.contradicted and audit.shown.grade == "proof"
    assert audit.verdict.startswith("CONTRADICTED")


def test_the_right_implementation_is_not_contradicted():
    """Four audits at alpha = .05: more than one false alarm would come with probability .014, were each as likely."""
    audits = [gradient_audit(PRIVATE, seed, 500) for seed in range(4)]
    assert sum(audit.contradicted for audit in audits) <= 1
    assert all(audit.verdict.startswith("Not contradicted") for audit in audits if not audit.contradicted)


@pytest.mark.slow
def test_false_alarms_are_no_more_frequent_than_alpha():
    """Against a claim that is met exactly, by canaries that reach it; 200 audits at alpha = .05."""
    alarms = sum(gradient_audit(PRIVATE, seed, 500).contradicted for seed in range(200))
    assert stats.binomtest(alarms, 200, 0.05, alternative="greater").pvalue > 1e-3


def test_a_gradient_canary_shows_what_the_accountant_allows():
    """The likelihood's ROC is the mechanism's own trade-off curve: neither more (a bug) nor much less (no power)."""
    recipe = DPSGD(noise_multiplier=1.0).on_recipe(PLAIN)
    run = canary_run.with_gradients(MODEL, recipe, DATA, 6000, KEY, None)
    scores, coins = run.scores["likelihood"], run.coins
    for fpr in (0.05, 0.2):
        tpr = (scores[coins] > np.quantile(scores[~coins], 1 - fpr)).mean()
        allowed = float(accounting.trade_off_bound(recipe.dp_event, fpr))
        assert allowed - 0.05 < tpr < allowed + 0.03  # four standard deviations of tpr and fpr together


def test_gradient_canaries_leave_the_network_alone():
    """Without noise, the net's parameters are those of the same schedule without canaries."""
    recipe = DPSGD(noise_multiplier=0.0, clip_norm=0.5).on_recipe(PLAIN)
    data, count = DATA.take(np.arange(RECORDS)), 5
    extended = dirac.with_canaries(MODEL, recipe, data, count)
    everybody = np.ones(RECORDS + count, bool)
    exact = replace(extended.recipe, records=RECORDS + count)
    exact = replace(exact, sampling=replace(exact.sampling, records=RECORDS + count))
    given = loop.arguments(exact, extended.data, everybody, KEY)
    with_them = loop.compiled(extended.model, exact)(given).params
    drawn = given.schedule.weight * (given.schedule.index < RECORDS)
    schedule = given.schedule._replace(index=np.minimum(given.schedule.index, RECORDS - 1), weight=drawn)
    without = loop.compiled(MODEL, recipe)(given._replace(x=data.x, y=data.y, schedule=schedule)).params
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), with_them[dirac.NET], without)
    hits = np.bincount(given.schedule.index[given.schedule.weight > 0], minlength=RECORDS + count)[RECORDS:]
    # Plain SGD: each draw moves a canary's two parameters by lr * clip_norm / sqrt(2) / batch, momentum aside.
    assert np.all((np.asarray(with_them[dirac.CANARY]["scale"]) < 0) == (hits > 0))


@pytest.mark.parametrize("tapped", [True, False])
def test_a_drawn_canary_adds_one_clip_norm_along_its_direction(tapped):
    model = MODEL if tapped else replace(MODEL, tapped=None, layers=())
    recipe, data = PRIVATE.with_rates(clip_norm=0.3), DATA.take(np.arange(6))
    extended = dirac.with_canaries(model, recipe, data, 4)
    params, index = extended.model.init(KEY), np.array([0, 1, 6, 8])
    y = jax.nn.one_hot(extended.data.y[index], CLASSES)
    batch = observe.clip.Batch(jnp.asarray(extended.data.x[index]), y, jnp.ones(4))
    rates = {"clip_norm": 0.3, "noise_multiplier": 0.0}
    gradient = PrivateGradient(1.0)(extended.model, extended.recipe.loss, params, batch, rates, KEY)
    np.testing.assert_allclose(dirac.coordinates(gradient), [0.3, 0, 0.3, 0], atol=1e-6)
    ordinary = batch._replace(x=jnp.asarray(data.x[:2]), y=y[:2], weight=jnp.ones(2))
    alone = PrivateGradient(1.0)(model, cross_entropy, params[dirac.NET], ordinary, rates, KEY)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), gradient[dirac.NET], alone)


def test_records_are_seen_by_inner_products_with_their_clipped_gradients():
    params, direction = MODEL.init(KEY), MODEL.init(jax.random.key(4))
    rates = {"canary_x": DATA.x[:5], "canary_y": DATA.y[:5], "clip_norm": 0.7}
    amount, norm = observe.Records(MODEL, cross_entropy)(direction, params, rates)
    for i in range(5):
        y = jax.nn.one_hot(DATA.y[i : i + 1], CLASSES)
        own = jax.grad(lambda p, i=i, y=y: cross_entropy(MODEL.apply(p, DATA.x[i : i + 1]), y)[0])(params)
        flat, along = (np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(t)]) for t in (own, direction))
        length = np.linalg.norm(flat)
        np.testing.assert_allclose(amount[i], flat @ along / length, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(norm[i], min(length, 0.7), rtol=1e-4)


def test_the_likelihood_ratio_of_a_step():
    x, q, sigma, s = np.array([-1.0, 0.2, 3.0], np.float32), 0.1, 0.8, 0.5
    found = observe.drawn_or_not(jnp.asarray(x), jnp.full(3, s), q, sigma)
    drawn = stats.norm.pdf(x, s, sigma) / stats.norm.pdf(x, 0, sigma)
    np.testing.assert_allclose(found, np.log(1 - q + q * drawn), rtol=1e-5)
    np.testing.assert_array_equal(observe.drawn_or_not(jnp.asarray(x), jnp.full(3, s), q, 0.0), 0)


@pytest.mark.parametrize("access", ["black-box", "white-box"])
def test_memorized_records_are_shown_without_a_guarantee(access):
    recipe = Training(optimizer="adam", learning_rate=0.01, batch_size=20, epochs=40).recipe(RECORDS)
    wide = model_of(MLP(hidden=(64,)), (FEATURES,), CLASSES)
    audit = audit_recipe(wide, recipe, DATA, canaries=300, access=access, key=KEY)
    assert audit.claim is None and not audit.contradicted and "no guarantee" in audit.warnings[-1]
    assert audit.shown.estimate.value > 0.5
    assert set(audit.scores) == {"margin"} | ({"projection", "change"} if access == "white-box" else set())


def test_what_cannot_be_audited_is_said():
    with pytest.raises(ConfigError, match="no trace"):
        audit_recipe(MODEL, PRIVATE, DATA, kind="gradient", access="black-box", key=KEY)
    with pytest.raises(ConfigError, match="Did you mean 'mislabeled'"):
        audit_recipe(MODEL, PRIVATE, DATA, kind="mislabelled", key=KEY)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="gradient canaries"):
        audit_recipe(MODEL, PRIVATE, DATA, canaries=1000, key=KEY)
    with pytest.raises(DataError, match="fewer canaries"):
        audit_recipe(MODEL, PRIVATE, DATA.take(np.arange(420)), canaries=100, key=KEY)
    with pytest.raises(ConfigError, match="mixup"):
        gradient_audit(Mixup(alpha=1.0).on_recipe(PLAIN))


def test_too_few_canaries_are_warned_of():
    assert any(
        "cannot contradict" in text
        for text in gradient_audit(DPSGD(noise_multiplier=0.3).on_recipe(PLAIN), canaries=40).warnings
    )


def test_an_experiment_is_audited_by_name():
    config = {
        "title": "toy",
        "data": {"name": "digits"},
        "net": {"name": "mlp", "hidden": [8]},
        "training": {"batch_size": 20, "epochs": 2},
        "population": {"models": 2, "size": 200},
        "defenses": {"dp": [{"name": "dp_sgd", "noise_multiplier": 1.0, "delta": 1e-4}, {"name": "top_k", "k": 2}]},
        "attacks": [{"name": "loss"}],
    }
    audit = audit_training(config, defense="dp", canaries=60)
    assert audit.title == "toy: dp" and audit.shown.delta == 1e-4 and 0 <= audit.accuracy <= 1
    assert any("top_k" in text for text in audit.warnings)
    assert any("accountant" in bound.name for bound in audit.bounds) and all(
        bound.alpha == 0.05 for bound in audit.bounds
    )
    again = audit_training(config, defense="dp", canaries=60)
    np.testing.assert_array_equal(audit.scores["margin"], again.scores["margin"])
    np.testing.assert_array_equal(audit.coins, again.coins)
    with pytest.raises(ConfigError, match="the config has dp"):
        audit_training(config, defense="pd")


def test_the_surest_alone_show_what_few_draws_leave():
    coins = RNG.random(2000) < 0.5
    scores = RNG.standard_normal(2000)
    scores[np.flatnonzero(coins)[:50]] += 20
    bound = training._of_surest(scores, coins, 1e-5, 0.05)
    assert 1.5 < bound.estimate.value <= bound.ceiling
