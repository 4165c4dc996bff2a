from __future__ import annotations

import threading
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import privsec.targets
from privsec.core.access import Access
from privsec.core.attack import Knowledge
from privsec.core.data import Examples
from privsec.core.defense import OutputDefense
from privsec.core.errors import AccessError, ConfigError, QueryBudgetExceeded
from privsec.core.recipe import Model
from privsec.core.signals import SIGNALS
from privsec.core.target import Target
from privsec.targets import TargetError, from_callable, stack
from tests.oracles import training as oracle

RNG = np.random.default_rng(1)
KERNELS = RNG.normal(size=(4, 5, 3))


def logits_of(model: int):
    return lambda x: x @ KERNELS[model]


def scores_of(model: int):
    return lambda x: np.exp(oracle.log_softmax(x @ KERNELS[model]))


def made(predict=None, **options) -> Target:
    given = {"num_classes": 3, "shape": (5,), "answers": "logits", **options}
    return from_callable(logits_of(0) if predict is None else predict, **given)


class Flatten(OutputDefense):
    name: Literal["flatten"] = "flatten"

    def on_outputs(self, log_scores, x, secret):
        return jax.nn.log_softmax(log_scores / 2)


@pytest.mark.parametrize("answers", ["logits", "probabilities"])
@pytest.mark.parametrize("stacked", [False, True])
def test_signals_are_those_of_the_definition(examples, answers, stacked):
    of = logits_of if answers == "logits" else scores_of
    target = made([of(0), of(1)] if stacked else of(0), answers=answers, batch_size=7)
    for m in range(2 if stacked else 1):
        expected = oracle.signals(examples.x @ KERNELS[m], examples.y)
        for name in SIGNALS:
            np.testing.assert_allclose(target.observe(examples, name)[m], expected[name], atol=2e-5, err_msg=name)


def test_what_is_answered_is_what_is_granted(examples):
    predicts = {
        "labels": lambda x: (x @ KERNELS[0]).argmax(1),
        "probabilities": scores_of(0),
        "log_probabilities": lambda x: oracle.log_softmax(x @ KERNELS[0]),
        "logits": logits_of(0),
    }
    granted = {answers: made(predict, answers=answers).grants for answers, predict in predicts.items()}
    assert granted == {
        "labels": Access.LABELS,
        "probabilities": Access.SCORES,
        "log_probabilities": Access.SCORES,
        "logits": Access.LOGITS,
    }
    for answers, predict in predicts.items():
        target = made(predict, answers=answers)
        assert (target.labels(examples.x) == predicts["labels"](examples.x)).all()
        with pytest.raises(AccessError):
            _ = target.params
    assert made(grants=Access.LABELS).grants is Access.LABELS
    assert made(scores_of(0), answers="probabilities", grants=Access.WEIGHTS).grants is Access.SCORES


def test_every_record_is_asked_about_once_in_batches():
    sizes = []

    def predict(x):
        assert x.dtype == np.float32 and x.flags.writeable
        sizes.append(len(x))
        x[:] = np.nan  # the function may spoil what it gets
        return np.tile([0.0, 1.0, 5.0], (len(x), 1))

    examples = Examples(np.ones((10, 5), np.float32), np.zeros(10, np.int32))
    target = made(predict, batch_size=4).record(examples)
    assert sizes == [4, 4, 2] and target.spent == 10
    target.observe(examples, "margin")
    assert target.spent == 10 and np.isfinite(examples.x).all()


def test_a_budget_is_spent_as_a_whole_or_not_at_all(examples):
    calls = []

    def predict(x):
        calls.append(len(x))
        return x @ KERNELS[0]

    target = made(predict, budget=30, batch_size=10)
    target.labels(examples.x)
    with pytest.raises(QueryBudgetExceeded, match=r"23 more queries .* budget of 30 \(23 are spent\)"):
        target.labels(examples.x)
    assert target.spent == sum(calls) == 23
    target.labels(examples.x[:7])
    assert target.spent == 30


def test_no_records_are_no_question():
    target = made()
    assert target.log_scores(np.zeros((0, 5), np.float32)).shape == (0, 3) and target.spent == 0


def test_an_exception_and_a_wrong_answer_are_told_with_the_record(examples):
    def broken(x):
        raise OSError("the disk is full")

    with pytest.raises(TargetError, match=r"raised OSError .* 23 records of shape \[5\]: the disk is full") as info:
        made(broken).labels(examples.x)
    assert isinstance(info.value.__cause__, OSError)

    def nan_at_17(x):
        return np.where((x == examples.x[17]).all(1, keepdims=True), np.nan, x @ KERNELS[0])

    with pytest.raises(TargetError, match="record 17 holds nan"):
        made(nan_at_17, batch_size=5).labels(examples.x)
    with pytest.raises(TargetError, match=r"takes records of shape \[5\]; got \[4\]"):
        made().labels(examples.x[:, :4])


def test_it_can_be_neither_compiled_nor_differentiated(examples):
    target = made()
    with pytest.raises(AccessError, match="outside of JAX"):
        jax.jit(lambda target, x: target.labels(x))(target, examples.x)
    with pytest.raises(AccessError, match="outside of JAX"):
        jax.grad(lambda x: target.log_scores(x).sum())(jnp.asarray(examples.x))
    with pytest.raises(AccessError, match="outside of JAX"):
        jax.vmap(lambda target: target.labels(examples.x))(made([logits_of(0), logits_of(1)]))


def test_output_defenses_stand_before_it(examples):
    bare = made()
    served = Target.of(bare.model, bare._params, outputs=(Flatten(),))
    np.testing.assert_allclose(
        served.log_scores(examples.x), oracle.log_softmax(examples.x @ KERNELS[0] / 2), atol=1e-5
    )


def test_one_model_is_asked_by_one_thread_at_a_time(examples):
    at_once, most = threading.Semaphore(0), []

    def predict(x):
        at_once.release()
        most.append(at_once._value)
        at_once.acquire()
        return x @ KERNELS[0]

    target = made(predict, batch_size=1)
    threads = [threading.Thread(target=target.labels, args=(examples.x,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == 1 and target.spent == 3 * 23


# Stacks


def test_a_stack_is_its_models(examples):
    ones = [made(logits_of(m)) for m in range(4)]
    together = stack([ones[0], stack(ones[1:3]), ones[3]])
    listed = made([logits_of(m) for m in range(4)])
    assert together.size == listed.size == 4
    for target in (together, listed):
        np.testing.assert_allclose(target.logits(examples.x), examples.x @ KERNELS, atol=1e-5)
        np.testing.assert_allclose(target[2].logits(examples.x), examples.x @ KERNELS[2], atol=1e-5)
        np.testing.assert_allclose(target[[3, 1]].logits(examples.x), examples.x @ KERNELS[[3, 1]], atol=1e-5)
    assert together.spent == (4 + 1 + 2) * 23 and ones[3].spent == 2 * 23  # each model's own meter runs too


def test_a_stack_keeps_to_the_budgets_of_its_models(examples):
    together = stack([made(budget=23), made()])
    together.labels(examples.x)
    with pytest.raises(QueryBudgetExceeded, match="budget of 23"):
        together.labels(examples.x[:1])


def test_a_stack_grants_what_all_grant(examples):
    assert stack([made(), made(grants=Access.LABELS)]).grants is Access.LABELS
    served = [Target.of(made().model, jnp.int32(0), outputs=(Flatten(),)) for _ in range(2)]
    both = stack(served)
    assert both.outputs == (Flatten(),) and both.grants is Access.SCORES
    np.testing.assert_allclose(both.log_scores(examples.x)[1], served[0].log_scores(examples.x))


def test_a_stack_of_models_in_jax_stacks_their_weights(examples):
    model = Model(lambda key: jnp.zeros((5, 3)), lambda w, x: x @ w, 3, (5,))
    ones = [Target.of(model, jnp.asarray(kernel, jnp.float32)) for kernel in KERNELS]
    together = stack([ones[0], stack(ones[1:])])
    assert together.traceable and together.grants is Access.WEIGHTS and together.spent is None
    np.testing.assert_array_equal(together.params, jnp.asarray(KERNELS, jnp.float32))


def test_what_does_not_fit_is_not_stacked():
    def in_jax():
        return Target.of(Model(lambda key: jnp.zeros((5, 3)), lambda w, x: x @ w, 3, (5,)), jnp.ones((5, 3)))

    for others, message in [
        ([], "nothing to stack"),
        ([in_jax(), made()], "cannot be stacked"),
        ([in_jax(), in_jax()], "built differently"),
        ([made(), made(num_classes=4)], "same records and classes"),
        ([made(), Target.of(made().model, jnp.int32(0), outputs=(Flatten(),))], "same output defenses"),
    ]:
        with pytest.raises(TargetError, match=message):
            stack(others)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"answers": "logit"}, "Did you mean 'logits'"),
        ({"predict": "http://model"}, "`predict` is a function"),
        ({"predict": []}, "list of models is empty"),
        ({"num_classes": 1}, "num_classes at least 2"),
        ({"batch_size": 0}, "batch_size is at least 1"),
        ({"floor": 0.0}, "floor is a small probability"),
    ],
)
def test_wrong_arguments(options, message):
    with pytest.raises(ConfigError, match=message):
        made(**options)


# Attacks on it


def test_the_boundary_attack_finds_the_same_as_on_the_model_in_jax():
    from privsec.attacks.membership.boundary import Boundary

    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(2, 5, 2)).astype(np.float32)
    x = rng.normal(size=(12, 5)).astype(np.float32)
    knowledge = Knowledge(
        2, Examples(x, (x @ kernel[0]).argmax(1).astype(np.int32)), box=(np.float32(-5), np.float32(5))
    )
    model = Model(lambda key: jnp.zeros((5, 2)), lambda w, x: x @ w, 2, (5,))
    labels = [lambda x, m=m: (x @ kernel[m]).argmax(1) for m in range(2)]
    outside = from_callable(labels, num_classes=2, shape=(5,), answers="labels")
    attack, key = Boundary(queries=150, records=8), jax.random.key(0)
    expected = attack.run(Target.of(model, jnp.asarray(kernel)).restrict(Access.LABELS), knowledge, key)
    found = attack.run(outside, knowledge, key)
    np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-4, atol=1e-5)
    assert found.queries == pytest.approx(expected.queries, rel=0.05)
    assert outside.spent is not None and outside.spent >= found.queries * 2 * 8


def test_the_constructors_are_given_to_target():
    for name in ("from_callable", "from_flax", "from_folder", "from_sklearn", "from_torch", "from_url"):
        assert getattr(privsec.targets.Target, name) is getattr(privsec.targets, name)
