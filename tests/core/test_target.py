from __future__ import annotations

import itertools
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from privsec.core import target as target_module
from privsec.core.access import Access
from privsec.core.data import Examples
from privsec.core.defense import OutputDefense
from privsec.core.errors import AccessError, QueryBudgetExceeded
from privsec.core.meter import Meter
from privsec.core.recipe import Model
from privsec.core.signals import SCALARS, SIGNALS
from privsec.core.target import Target, compiled
from tests.oracles import training as oracle

FEATURES, CLASSES, MODELS = 3, 4, 5
ASKS = {
    "labels": Access.LABELS,
    "log_scores": Access.SCORES,
    "scores": Access.SCORES,
    "logits": Access.LOGITS,
}


def affine(params, x):
    return x @ params["kernel"] + params["bias"]


MODEL = Model(init=lambda key: parameters(), apply=affine, num_classes=CLASSES, shape=(FEATURES,))


class Add(OutputDefense):
    name: Literal["add"] = "add"
    amount: float = 0.0

    def on_outputs(self, log_scores, x, secret):
        return jax.nn.log_softmax(log_scores.at[:, 0].add(self.amount))


class Halve(OutputDefense):
    name: Literal["halve"] = "halve"

    def on_outputs(self, log_scores, x, secret):
        return jax.nn.log_softmax(log_scores / 2)


class Secret(OutputDefense):
    name: Literal["secret"] = "secret"
    draws: ClassVar[bool] = True

    def on_outputs(self, log_scores, x, secret):
        return jax.nn.log_softmax(log_scores + jax.random.normal(secret, (log_scores.shape[-1],)))


class OnlyLabels(OutputDefense):
    name: Literal["only_labels"] = "only_labels"
    leaves: ClassVar[Access] = Access.LABELS

    def on_outputs(self, log_scores, x, secret):
        return log_scores


def parameters(models: int | None = None):
    lead = () if models is None else (models,)
    rng = np.random.default_rng(0)
    return {
        "kernel": jnp.asarray(rng.standard_normal((*lead, FEATURES, CLASSES)), jnp.float32),
        "bias": jnp.asarray(rng.standard_normal((*lead, CLASSES)), jnp.float32),
    }


@pytest.fixture
def one() -> Target:
    return Target.of(MODEL, parameters())


@pytest.fixture
def many() -> Target:
    return Target.of(MODEL, parameters(MODELS), jax.random.split(jax.random.key(1), MODELS))


@pytest.fixture
def examples() -> Examples:
    rng = np.random.default_rng(1)
    x = rng.standard_normal((21, FEATURES)).astype(np.float32)
    return Examples(x, rng.integers(0, CLASSES, 21).astype(np.int32))


def logits_of(target: Target, m: int, x) -> np.ndarray:
    kernel, bias = (np.asarray(target._params[name][m], np.float64) for name in ("kernel", "bias"))
    return np.asarray(x, np.float64) @ kernel + bias


# Access


def test_everything_is_granted_without_defenses_and_what_they_leave_with_them():
    grants = {
        outputs: Target.of(MODEL, parameters(), outputs=outputs).grants
        for outputs in [(), (Add(),), (OnlyLabels(),), (Add(), OnlyLabels())]
    }
    assert list(grants.values()) == [Access.WEIGHTS, Access.SCORES, Access.LABELS, Access.LABELS]


@pytest.mark.parametrize("level", [Access.NONE, Access.LABELS, Access.SCORES, Access.LOGITS, Access.WEIGHTS])
def test_a_restricted_target_answers_what_it_grants_and_refuses_the_rest(one, examples, level):
    restricted = one.restrict(level)
    for ask, needs in ASKS.items():
        if needs in level:
            getattr(restricted, ask)(examples.x)
        else:
            with pytest.raises(AccessError, match=f"takes {needs.title} access, but this target grants {level.title}"):
                getattr(restricted, ask)(examples.x)
    for signal, (needs, _) in SIGNALS.items():
        if needs in level:
            restricted.observe(examples, signal)
        else:
            with pytest.raises(AccessError, match=signal):
                restricted.observe(examples, signal)
    if level is not Access.WEIGHTS:
        with pytest.raises(AccessError, match="asked for weights"):
            _ = restricted.params


def test_restrict_only_takes_away(one):
    weaker = one.restrict(Access.SCORES)
    assert weaker.grants is Access.SCORES and one.grants is Access.WEIGHTS
    assert weaker.restrict(Access.LABELS).grants is Access.LABELS
    with pytest.raises(AccessError, match="restricting to logits"):
        weaker.restrict(Access.LOGITS)
    with pytest.raises(AccessError, match="updates"):
        one.restrict(Access.UPDATES)


def test_the_refusal_names_the_defense_and_the_way_out(examples):
    with pytest.raises(AccessError, match=r"grants scores, behind add, halve\. Declare the access"):
        Target.of(MODEL, parameters(), outputs=(Add(), Halve())).logits(examples.x)


def test_gradients_need_gradients(one, examples):
    def confidence(x, target):
        return target.log_scores(x)[:, 0].sum() + target.logits(x)[:, 1].sum()

    slope = jax.grad(confidence)(examples.x, one.restrict(Access.GRADIENTS))
    assert np.isfinite(slope).all() and np.abs(slope).max() > 0
    blind = one.restrict(Access.LOGITS)
    np.testing.assert_allclose(confidence(examples.x, blind), confidence(examples.x, one), rtol=1e-6)
    with pytest.raises(AccessError, match="without GRADIENTS access"):
        jax.grad(confidence)(examples.x, blind)
    with pytest.raises(AccessError, match="without GRADIENTS access"):
        jax.jit(jax.grad(lambda x: blind.scores(x)[:, 0].sum()))(examples.x)
    # What does not lead through the target may be differentiated.
    jax.grad(lambda x: (x**2).sum() * blind.scores(jax.lax.stop_gradient(x)).sum())(jnp.asarray(examples.x))


# Answers


def test_answers_agree_with_each_other(one, examples):
    logits = one.logits(examples.x)
    np.testing.assert_allclose(one.log_scores(examples.x), oracle.log_softmax(logits), atol=1e-6)
    np.testing.assert_allclose(one.scores(examples.x).sum(-1), 1, atol=1e-6)
    assert (one.labels(examples.x) == logits.argmax(-1)).all()


def test_log_scores_are_finite_at_extreme_logits(one):
    answer = one.log_scores(jnp.asarray([[1e4, -1e4, 1e4], [-1e4, 1e4, 0.0]]))
    assert np.isfinite(answer).all()


def test_output_defenses_act_left_to_right(examples):
    plain = Target.of(MODEL, parameters())
    added = plain.log_scores(examples.x).at[:, 0].add(3.0)
    both = Target.of(MODEL, parameters(), outputs=(Add(amount=3.0), Halve()))
    reverse = Target.of(MODEL, parameters(), outputs=(Halve(), Add(amount=3.0)))
    np.testing.assert_allclose(both.log_scores(examples.x), jax.nn.log_softmax(added / 2), atol=1e-6)
    assert np.abs(both.log_scores(examples.x) - reverse.log_scores(examples.x)).max() > 0.1


def test_each_defense_and_each_model_has_its_own_secret(examples):
    def noise_of(target):
        return np.asarray(target.log_scores(examples.x))

    secrets = jax.random.split(jax.random.key(1), 2)
    once, again = (Target.of(MODEL, parameters(), secrets[0], (Secret(),)) for _ in range(2))
    other = Target.of(MODEL, parameters(), secrets[1], (Secret(),))
    assert (noise_of(once) == noise_of(again)).all()
    assert np.abs(noise_of(once) - noise_of(other)).max() > 0.1
    second = Target.of(MODEL, parameters(), secrets[0], (Add(), Secret()))
    assert np.abs(noise_of(once) - noise_of(second)).max() > 0.1


def test_a_defense_that_draws_noise_needs_a_secret():
    with pytest.raises(ValueError, match="give `secret`"):
        Target.of(MODEL, parameters(), outputs=(Add(), Secret()))


def test_the_same_models_are_recognized_behind_any_endpoint(one):
    same = one.restrict(Access.SCORES)
    assert one.is_bank_of(same) and one.is_served_like(same)
    other = Target.of(one.model, one.params, outputs=[Add()])
    assert one.is_bank_of(other) and not one.is_served_like(other)
    assert not one.is_bank_of(Target.of(one.model, jax.tree.map(lambda leaf: leaf + 0, one.params)))


# Stacks


def test_a_stack_answers_for_each_of_its_models(many, examples):
    assert many.size == MODELS
    for ask in ASKS:
        together = getattr(many, ask)(examples.x)
        assert together.shape[:2] == (MODELS, len(examples.y))
        for m in range(MODELS):
            np.testing.assert_allclose(together[m], getattr(many[m], ask)(examples.x), atol=1e-5)


def test_a_stack_without_a_secret_is_a_stack(examples):
    assert Target.of(MODEL, parameters()).size is None
    stacked = Target.of(MODEL, parameters(MODELS), outputs=(Halve(),))
    assert stacked.size == MODELS and stacked.labels(examples.x).shape == (MODELS, 21)


@pytest.mark.parametrize("record", [False, True])
@pytest.mark.parametrize(
    "which",
    [0, -1, np.int64(2), slice(1, 4), slice(None, None, 2), np.array([3, 0]), np.array([True, False] * 2 + [True])],
    ids=str,
)
def test_indexing(many, examples, which, record):
    expected = many.observe(examples, "margin")[np.atleast_1d(np.arange(MODELS)[which])]
    chosen = (many.record(examples) if record else many)[which]
    assert chosen.size == (None if np.ndim(np.arange(MODELS)[which]) == 0 else len(expected))
    np.testing.assert_allclose(chosen.observe(examples, "margin"), expected, atol=1e-6)


def test_indexing_out_of_range_and_iteration_end(many, one):
    with pytest.raises(IndexError):
        many[MODELS]
    assert len(list(itertools.islice(iter(many), 99))) == MODELS  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="not a stack"):
        one[0]


def test_a_stack_vmaps_and_survives_tree_map(many, examples):
    mapped = jax.vmap(lambda target: target.log_scores(examples.x))(many)
    np.testing.assert_allclose(mapped, many.log_scores(examples.x), atol=1e-6)
    restricted = many.restrict(Access.SCORES)
    again = jax.tree.map(lambda leaf: leaf, restricted)
    assert (again.model, again.outputs, again.grants, again.size) == (MODEL, (), Access.SCORES, MODELS)
    np.testing.assert_array_equal(again.log_scores(examples.x), many.log_scores(examples.x))


def test_a_target_goes_through_jit_with_its_access(many, examples):
    asked = jax.jit(lambda target, x: target.logits(x))
    np.testing.assert_allclose(asked(many, examples.x), many.logits(examples.x), atol=1e-6)
    with pytest.raises(AccessError):
        asked(many.restrict(Access.LABELS), examples.x)


# Observing


def test_observe_equals_the_definition(many, examples):
    for m in range(MODELS):
        expected = oracle.signals(logits_of(many, m, examples.x), examples.y)
        for name in SIGNALS:
            np.testing.assert_allclose(many.observe(examples, name)[m], expected[name], atol=1e-5, err_msg=name)


def test_observe_one_model_has_a_models_axis(one, examples):
    assert one.observe(examples, "margin").shape == (1, 21)
    assert one.observe(examples, "top_scores").shape == (1, 21, CLASSES)


def test_an_unknown_signal_is_an_error(one, examples):
    with pytest.raises(KeyError, match="magin"):
        one.observe(examples, "magin")


@pytest.mark.parametrize("chunk", [1, 4, 21])
def test_chunks_change_nothing(many, examples, chunk, monkeypatch):
    whole = many.record(examples)
    monkeypatch.setattr(target_module, "CHUNK", chunk)
    for name, found in many.record(examples)._recorded[0][1].items():
        expected = whole.observe(examples, name)
        np.testing.assert_allclose(found, expected, atol=1e-6, err_msg=name)


def test_more_records_than_a_chunk(one):
    rng = np.random.default_rng(2)
    size = target_module.CHUNK + 5
    examples = Examples(rng.standard_normal((size, FEATURES)).astype(np.float32), np.zeros(size, np.int32))
    logits = np.asarray(one.logits(examples.x))
    expected = oracle.signals(logits, examples.y)["margin"]
    np.testing.assert_allclose(one.observe(examples, "margin")[0], expected, atol=1e-5)


def test_recorded_answers_are_the_answers(many, examples):
    recorded = many.record(examples)
    for name in SIGNALS:
        np.testing.assert_array_equal(recorded.observe(examples, name), many.observe(examples, name))
    for name in SCALARS:
        assert recorded.observe(examples, name) is recorded.observe(examples, name)


def test_recorded_answers_hold_for_these_records_only(many, examples):
    recorded = many.record(examples)
    others = Examples(examples.x + 1.0, examples.y)
    np.testing.assert_array_equal(recorded.observe(others, "margin"), many.observe(others, "margin"))
    two = recorded.record(others)
    for asked in (examples, others):
        np.testing.assert_array_equal(two.observe(asked, "margin"), many.observe(asked, "margin"))


def test_recorded_answers_are_behind_the_same_access(many, examples):
    with pytest.raises(AccessError):
        many.record(examples).restrict(Access.LABELS).observe(examples, "margin")


def test_access_does_not_compile_again(many, examples):
    compiled = target_module._signals_of_chunk.jitted
    many.observe(examples, "entropy")
    before = compiled._cache_size()
    many.restrict(Access.SCORES).observe(examples, "entropy")
    many[0].observe(examples, "entropy")
    assert compiled._cache_size() == before


# Models outside of JAX


def outside(models: int | None = None, budget: int | None = None, **options) -> Target:
    """The same models in NumPy: `params` says only which one is asked."""
    weights, meter = parameters(MODELS), Meter(budget)

    def apply(which, x):
        x, one = np.asarray(x), int(which)
        meter.charge(len(x))
        return jnp.asarray(x @ np.asarray(weights["kernel"][one]) + np.asarray(weights["bias"][one]))

    model = Model(lambda key: jnp.zeros((), jnp.int32), apply, CLASSES, (FEATURES,), meter=meter)
    return Target.of(model, jnp.int32(0) if models is None else jnp.arange(models), **options)


def test_a_model_outside_of_jax_answers_like_the_model_in_jax(many, examples):
    for found, expected in ((outside(MODELS), many), (outside(), many[0])):
        assert found.size == expected.size and not found.traceable and expected.traceable
        for ask in ASKS:
            np.testing.assert_allclose(getattr(found, ask)(examples.x), getattr(expected, ask)(examples.x), atol=1e-6)
        np.testing.assert_allclose(found.observe(examples, "margin"), expected.observe(examples, "margin"), atol=1e-5)


def test_a_model_outside_of_jax_grants_logits_at_most():
    assert outside().grants is Access.LOGITS
    assert outside(grants=Access.LABELS).grants is Access.LABELS
    assert outside(grants=Access.WEIGHTS).grants is Access.LOGITS
    assert outside(outputs=(OnlyLabels(),), grants=Access.SCORES).grants is Access.LABELS
    with pytest.raises(AccessError, match="restricting to gradients"):
        outside().restrict(Access.GRADIENTS)
    assert Target.of(MODEL, parameters(), grants=Access.SCORES).grants is Access.SCORES


def test_every_record_is_a_query_once(many, examples, monkeypatch):
    monkeypatch.setattr(target_module, "CHUNK", 16)  # 21 records: the last chunk is not filled up
    target = outside(MODELS)
    assert target.spent == 0 and many.spent is None
    recorded = target.record(examples)
    assert target.spent == MODELS * 21
    for name in SCALARS:
        np.testing.assert_allclose(recorded.observe(examples, name), many.observe(examples, name), atol=1e-5)
    recorded[1:3].observe(examples, "margin")
    assert target.spent == MODELS * 21  # what is recorded costs nothing
    target[2].labels(examples.x[:5])
    assert target.spent == recorded.spent == MODELS * 21 + 5


@pytest.mark.parametrize("which", [2, slice(1, 4), np.array([3, 0])], ids=str)
def test_a_stack_outside_of_jax_is_indexed(many, examples, which):
    np.testing.assert_allclose(
        outside(MODELS)[which].log_scores(examples.x), many[which].log_scores(examples.x), atol=1e-6
    )


def test_defenses_and_secrets_stand_before_models_outside_of_jax(many, examples):
    secrets = jax.random.split(jax.random.key(1), MODELS)
    outputs = (Add(amount=1.0), Secret())
    found = outside(MODELS, secret=secrets, outputs=outputs)
    expected = Target.of(MODEL, many.params, secrets, outputs)
    np.testing.assert_allclose(found.log_scores(examples.x), expected.log_scores(examples.x), atol=1e-5)


def test_a_budget_ends_the_questions(examples):
    target = outside(budget=50)
    target.observe(examples, "margin")
    target.restrict(Access.LABELS).labels(examples.x)
    with pytest.raises(QueryBudgetExceeded, match="42 are spent"):
        target.labels(examples.x)
    assert target.spent == 42


def test_compiled_runs_as_it_stands_outside_of_jax(many, examples):
    def flips(target, x, steps):
        """A program with a loop that asks the target."""
        step = lambda _, x: x + 0.1 * jnp.sign(target.labels(x)[:, None] - 1.5)  # noqa: E731
        return jax.lax.fori_loop(0, steps, step, x)

    program = compiled(flips, static=("steps",))
    x, target = jnp.asarray(examples.x), outside()
    np.testing.assert_allclose(program(target, x, steps=3), program(many[0], x, steps=3), atol=1e-6)
    assert target.spent == 3 * 21
