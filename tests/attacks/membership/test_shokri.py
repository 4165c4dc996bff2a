from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from privsec.attacks.membership import shokri
from privsec.attacks.membership.lira import LiRA
from privsec.attacks.membership.loss import Loss
from tests.attacks.membership.banks import bank, usable_of
from tests.oracles.membership import auc


@pytest.mark.parametrize("folds", [1, 2, 4, 100])
def test_no_target_and_no_twin_trains_its_own_classifier(folds):
    usable = usable_of(16)
    groups = shokri.groups(usable, folds)
    assert sorted(t for targets, _ in groups for t in targets) == list(range(16))
    assert len(groups) == max(2, min(folds, 8))  # one group of all would leave no reference
    for targets, allowed in groups:
        assert allowed.any() and not any(allowed[t] or allowed[t ^ 1] for t in targets)


def test_separate_references_serve_every_target():
    ((targets, allowed),) = shokri.groups(np.ones((1, 7), bool), 4)
    assert targets.tolist() == [0] and allowed.all()


def test_logistic_regression_is_that_of_scikit_learn():
    linear_model = pytest.importorskip("sklearn.linear_model")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 3))
    t = (x @ [1.0, -2.0, 0.5] + rng.logistic(size=400) > 0).astype(float)
    theirs = linear_model.LogisticRegression(C=1 / 0.7, fit_intercept=False, tol=1e-10).fit(x, t).coef_[0]
    np.testing.assert_allclose(shokri._logistic(x, t, np.zeros(3), 0.7), theirs, atol=1e-4)


def test_separable_data_and_absent_classes_do_no_harm():
    x = np.linspace(-1, 1, 50)
    classifier = shokri.fit(-np.abs(x[:, None]), x, np.zeros(50, int), x > 0, num_classes=3, ridge=1.0)
    assert np.isfinite(classifier.weights).all()
    odds = shokri.log_odds(classifier, -np.abs(x[:, None]), x, np.full(50, 2))  # class 2 was never seen: the common one
    assert auc(odds, x > 0) == 1.0


def test_it_learns_what_a_threshold_cannot():
    """Classes that are right for different reasons: in class 0 members get the lower margin."""
    tangled = bank(seed=1, models=12, records=300, leak=3.0)
    mirrored = np.where((tangled.y == 0)[None, :, None], -1.0, 1.0) * tangled.logits
    tangled = tangled.with_references(mirrored, tangled.included)
    tangled = replace(tangled, target=tangled.knowledge.references)
    learnt, fixed = (tangled.aucs(tangled.run(a), auc).mean() for a in (shokri.Shokri(), Loss()))
    assert learnt > fixed + 0.05


def test_the_same_key_draws_the_same_pairs():
    leaky = bank(leak=2.0)
    attack = shokri.Shokri(samples=100)
    np.testing.assert_array_equal(leaky.run(attack, 1), leaky.run(attack, 1))
    assert (leaky.run(attack, 1) != leaky.run(attack, 2)).any()
    np.testing.assert_array_equal(leaky.run(LiRA(), 1), leaky.run(LiRA(), 2))
