from __future__ import annotations

from dataclasses import replace
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from privsec.core.data import Examples
from privsec.core.defense import OutputDefense, RememberingDefense, refusing, remembers
from privsec.core.recipe import Model
from privsec.core.target import Target
from privsec.targets.host import from_callable, stack

SIZES: list[int] = []


def affine(params, x):
    SIZES.append(len(x))
    return x @ params


MODEL = Model(init=lambda key: jnp.eye(3), apply=affine, num_classes=3, shape=(3,))


class Patient(RememberingDefense):
    """Answers so many queries of an account, and then none."""

    name: Literal["patient"] = "patient"
    answers: int = 5

    @property
    def active(self) -> bool:
        return self.answers > 0

    def session(self, accounts: int | None):
        return Counting(np.inf if accounts is None else accounts * self.answers)


class Counting:
    def __init__(self, left: float) -> None:
        self.left = left

    def answered(self, log_scores, x):
        refused = np.arange(len(x)) >= self.left
        self.left -= len(x)
        never = np.log(np.eye(log_scores.shape[-1])[-1] + 1e-6)
        return np.where(refused[:, None], never, log_scores).astype(np.float32)


def target(**settings) -> Target:
    return Target.of(MODEL, jnp.eye(3), outputs=[Patient(**settings)])


def asked(target: Target, count: int) -> list[int]:
    return np.asarray(target.labels(np.eye(3, dtype=np.float32)[np.arange(count) % 3])).tolist()


def test_a_refusing_model_is_the_same_model_with_a_class_it_never_answers():
    made = refusing(MODEL)
    assert (made.num_classes, made.rejects) == (4, True)
    assert refusing(made) is made and refusing(MODEL) is made
    x = jnp.asarray(np.random.default_rng(0).normal(size=(50, 3)) * 100, jnp.float32)
    answers = jax.nn.log_softmax(made.apply(jnp.eye(3), x))
    assert np.isfinite(answers).all() and np.exp(answers[:, 3]).max() < 1e-20
    np.testing.assert_allclose(answers[:, :3], jax.nn.log_softmax(MODEL.apply(jnp.eye(3), x)), rtol=1e-5, atol=1e-5)


def test_a_client_is_remembered_by_every_view_of_the_target():
    one = target()
    assert asked(one, 3) == [0, 1, 2]
    assert asked(one.restrict(one.grants), 3) == [0, 1, 3]
    assert asked(jax.tree.map(lambda leaf: leaf, one), 1) == [3]
    assert asked(one.as_new_client(), 6) == [0, 1, 2, 0, 1, 3]
    assert asked(one, 1) == [3]


def test_accounts_are_the_attackers_strength_and_users_have_their_own():
    assert asked(target(accounts=2), 12).index(3) == 10
    assert 3 not in asked(target().as_its_users(), 30)


def test_recorded_answers_are_not_handed_on_to_a_new_client():
    examples = Examples(np.eye(3, dtype=np.float32), np.arange(3, dtype=np.int32))
    users = target().as_its_users().record(examples)
    assert users.observe(examples, "correct").all()
    client = users.as_new_client()
    asked(client, 4)
    assert client.observe(examples, "correct")[0].tolist() == [True, False, False]
    assert not client.is_served_like(users) and client.is_bank_of(users)


def test_nothing_more_is_asked_than_the_attacker_asks_and_few_programs_are_compiled():
    one = Target.of(replace(MODEL), jnp.eye(3), outputs=[Patient(answers=200)])  # compiled by no other test
    SIZES.clear()
    for count in range(1, 17):
        asked(one, count)
    (session,) = one._client.sessions.values()
    assert session.left == 200 - sum(range(1, 17))
    assert sorted(SIZES) == [1, 2, 4, 8, 16]  # traced for powers of two only


def test_at_strength_zero_nothing_is_remembered_and_others_never_do():
    one = target(answers=0)
    assert one.traceable and one._client is None and one.model is MODEL
    assert one.as_new_client() is one and one.as_its_users() is one
    assert not remembers(Patient(answers=0)) and remembers(Patient())

    class Plain(OutputDefense):
        name: Literal["plain"] = "plain"

        def on_outputs(self, log_scores, x, secret):
            return log_scores

    plain = Plain()
    assert not remembers(plain)
    assert plain.fitted(Examples(np.zeros((1, 3)), np.zeros(1))) is plain


@pytest.mark.parametrize("outside", [False, True])
def test_stacked_targets_remember_each_model_for_itself(outside):
    def one(seed: int) -> Target:
        if outside:
            plain = from_callable(lambda x: 5 * x, num_classes=3, shape=(3,), answers="logits")
            return Target.of(plain.model, plain._params, jax.random.key(seed), [Patient()])
        return Target.of(MODEL, jnp.eye(3), jax.random.key(seed), [Patient()])

    both = stack([one(0), one(1)])
    assert both.model.num_classes == 4 and both.model.rejects and not both.traceable
    assert asked(both[0], 6) == [0, 1, 2, 0, 1, 3]
    assert asked(both, 1) == [[3], [0]]
