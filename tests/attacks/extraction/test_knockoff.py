from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from privsec.attacks.extraction.knockoff import Knockoff
from privsec.attacks.extraction.label_knockoff import LabelKnockoff
from privsec.attacks.extraction.student import students
from privsec.core.access import Access
from privsec.core.attack import Knowledge
from privsec.core.data import Examples
from privsec.core.errors import AccessError, ConfigError, NotApplicable
from privsec.core.recipe import Model
from privsec.core.target import Target
from privsec.nets.base import model_of
from privsec.nets.mlp import MLP
from privsec.targets.host import from_callable
from privsec.training.standard import Training
from tests.oracles import extraction as oracle

KEY = jax.random.key(5)
D, C = 6, 3
LINEAR = {
    "net": {"name": "mlp", "hidden": []},
    "training": {"learning_rate": 0.05, "epochs": 60, "batch_size": 50, "schedule": "cosine"},
    "budgets": (50, 400),
}


def linear(params, x):
    return jnp.asarray(x) @ params["weights"] + params["shift"]


@pytest.fixture(scope="module")
def world():
    """Linear victims, records labelled by chance, and held-out records."""
    rng = np.random.default_rng(0)
    model = Model(lambda key: {"weights": jnp.zeros((D, C)), "shift": jnp.zeros(C)}, linear, C, (D,))
    params = {"weights": jnp.asarray(rng.normal(size=(2, D, C)), jnp.float32), "shift": jnp.zeros((2, C))}
    x = rng.normal(size=(600, D)).astype(np.float32)
    population = Examples(x, rng.integers(0, C, len(x)).astype(np.int32))
    return Target.of(model, params), Knowledge(C, population=population), rng.normal(size=(3000, D)).astype(np.float32)


def fidelity(evidence, target, x, part="params"):
    """[T, Q]"""
    params = getattr(evidence, part)
    victim = np.asarray(target.labels(x))
    count = len(evidence.budgets)
    return np.array(
        [
            [
                oracle.fidelity(
                    np.argmax(evidence.model.apply(jax.tree.map(lambda leaf, t=t, q=q: leaf[t, q], params), x), axis=1),
                    victim[t],
                )
                for q in range(count)
            ]
            for t in range(len(victim))
        ]
    )


@pytest.mark.parametrize(("kind", "enough"), [(Knockoff, 0.99), (LabelKnockoff, 0.95)])
def test_a_linear_model_is_copied_outright_and_its_null_knows_nothing(world, kind, enough):
    target, knowledge, x = world
    attack = kind(**LINEAR)
    found = attack.run(target.restrict(attack.needs), knowledge, KEY)
    assert found.budgets.tolist() == [50, 400]
    reached, null = fidelity(found, target, x), fidelity(found, target, x, "null")
    assert np.all(reached[:, 1] > enough) and np.all(reached[:, 1] > reached[:, 0])
    assert np.all(null < 0.6)  # labels by chance: nothing to be learned from them

    alone = attack.run(target[1].restrict(attack.needs), knowledge, KEY)
    for one, other in zip(jax.tree.leaves(alone.params), jax.tree.leaves(found.params), strict=True):
        np.testing.assert_array_equal(one[0], other[1])


def test_nothing_is_copied_from_a_model_that_always_says_the_same(world):
    target, knowledge, x = world
    constant = Target.of(target.model, jax.tree.map(jnp.zeros_like, target._params))
    found = Knockoff(**LINEAR).run(constant, knowledge, KEY)
    scores = jax.nn.softmax(found.model.apply(jax.tree.map(lambda leaf: leaf[0, 1], found.params), x))
    np.testing.assert_allclose(scores, 1 / C, atol=0.02)


def test_a_student_learns_what_the_oracle_learns_from_soft_answers():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(40, 4)).astype(np.float32)
    answers = rng.dirichlet(np.ones(C), (2, 40)).astype(np.float32)
    training = Training(optimizer="sgd", momentum=0.0, learning_rate=1.0, batch_size=40, epochs=300)
    model = model_of(MLP(hidden=()), (4,), C)
    found = dict(students(model, training.recipe(40), x, answers, KEY))
    for s in range(2):
        weights = oracle.distilled(x, answers[s], 300, 1.0)
        z = np.c_[x, np.ones(40)] @ weights
        expected = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
        np.testing.assert_allclose(jax.nn.softmax(model.apply(found[s], x)), expected, atol=1e-3)


def test_the_null_is_trained_on_the_records_own_labels_from_the_same_start(world):
    """A victim that answers the population's own labels leaves student and null the same."""
    _, knowledge, _ = world
    known = {row.tobytes(): label for row, label in zip(*knowledge.population, strict=True)}

    def predict(x):
        return np.array([known[row.tobytes()] for row in np.asarray(x, np.float32)])

    target = from_callable(predict, num_classes=C, shape=(D,), answers="labels")
    found = LabelKnockoff(**LINEAR).run(target, knowledge, KEY)
    assert target.spent == 400  # every record once, for both budgets
    for student, null in zip(jax.tree.leaves(found.params), jax.tree.leaves(found.null), strict=True):
        np.testing.assert_allclose(student, null, atol=1e-5)


def test_budgets_end_at_what_the_attacker_has_and_what_cannot_be_done_says_why(world):
    target, knowledge, _ = world
    few = Knowledge(C, population=knowledge.population.take(np.arange(30)))
    quick = {**LINEAR, "training": {"epochs": 1}, "budgets": (10, 50, 100)}
    assert Knockoff(**quick).run(target, few, KEY).budgets.tolist() == [10, 30]
    with pytest.raises(NotApplicable, match="there are none"):
        Knockoff().run(target, Knowledge(C), KEY)
    with pytest.raises(AccessError):
        Knockoff().run(target.restrict(Access.LABELS), few, KEY)
    with pytest.raises(ConfigError, match="rise"):
        Knockoff(budgets=(100, 50))
    with pytest.raises(ConfigError, match="reads images"):
        Knockoff(net={"name": "cnn"}).run(target, few, KEY)
