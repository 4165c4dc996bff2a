"""What holds for every score-based membership attack."""

from dataclasses import replace

import numpy as np
import pytest

from privsec.attacks.membership.attack_p import AttackP
from privsec.attacks.membership.attack_r import AttackR
from privsec.attacks.membership.bavaria import BaVarIA
from privsec.attacks.membership.confidence import Confidence
from privsec.attacks.membership.correctness import Correctness
from privsec.attacks.membership.entropy import Entropy
from privsec.attacks.membership.lira import LiRA
from privsec.attacks.membership.loss import Loss
from privsec.attacks.membership.modified_entropy import ModifiedEntropy
from privsec.attacks.membership.rmia import RMIA
from privsec.attacks.membership.shokri import Shokri
from privsec.core.attack import Knowledge
from privsec.core.errors import NotApplicable
from tests.attacks.membership.banks import bank
from tests.oracles.membership import auc

WITH_REFERENCES = [
    LiRA(),
    LiRA(variance="per_example"),
    LiRA(variance="shrunk"),
    LiRA(online=False),
    RMIA(),
    RMIA(online=False),
    RMIA(online=False, a=0.3, temperature=1.0),
    BaVarIA(),
    BaVarIA(likelihood="gaussian"),
    BaVarIA(online=False),
    AttackR(),
    Confidence(),
    Entropy(),
    ModifiedEntropy(),
    Shokri(),
]
ATTACKS = [
    *WITH_REFERENCES,
    AttackP(),
    AttackP(per_class=True),
    Loss(),
    Correctness(),
    Confidence(per_class=False),
    Entropy(per_class=False),
    ModifiedEntropy(per_class=False),
]


def title(attack):
    options = attack.model_dump(exclude_defaults=True)
    return "-".join([attack.name, *(f"{key}={value}" for key, value in options.items())])


each_attack = pytest.mark.parametrize("attack", ATTACKS, ids=title)
each_with_references = pytest.mark.parametrize("attack", WITH_REFERENCES, ids=title)


@each_attack
def test_certain_leakage_is_found(attack):
    leaky = bank(models=12, records=200, leak=10.0)
    scores = leaky.run(attack)
    assert scores.shape == (12, 200) and scores.dtype == np.float64 and np.isfinite(scores).all()
    # The gap attack knows no more than that members are right; among five classes others often are, too.
    assert leaky.aucs(scores, auc).mean() > (0.8 if attack.name == "correctness" else 0.93)


@each_attack
def test_membership_that_the_models_do_not_know_is_not_found(attack):
    """Also the trap of a balanced design: over the other models, members are IN one time less."""
    silent = bank(seed=3, models=16, records=400, leak=0.0)
    # One target's AUC has a standard deviation of sqrt((1 / 200 + 1 / 200) / 12) = .029; each has its own noise.
    assert abs(silent.aucs(silent.run(attack), auc).mean() - 0.5) < 4 * 0.029 / np.sqrt(16)


@each_attack
def test_models_that_all_answer_alike_give_twins_the_same_scores(attack):
    """Any trace of a count, a degree of freedom or a rounding would order records by membership in both twins."""
    alike = bank(seed=4, models=8, records=80, noise=0.0)
    aucs = alike.aucs(alike.run(attack), auc)
    np.testing.assert_allclose((aucs[::2] + aucs[1::2]) / 2, 0.5, atol=1e-12)


@each_with_references
def test_what_is_withheld_from_a_target_does_not_change_its_scores(attack):
    honest = bank(seed=5, models=8, records=60, leak=2.0)
    logits, included = honest.logits.copy(), honest.included.copy()
    honest = honest.with_references(logits, included)
    for t in (0, 5):
        withheld = ~honest.usable[t]
        other_logits, other_included = logits.copy(), included.copy()
        other_logits[withheld] = np.random.default_rng(t).normal(0, 20, other_logits[withheld].shape)
        other_included[withheld] = np.random.default_rng(t).random(other_included[withheld].shape) < 0.3
        tampered = honest.with_references(other_logits, other_included)
        np.testing.assert_allclose(tampered.run(attack)[t], honest.run(attack)[t], atol=1e-9)


@pytest.mark.parametrize("attack", [a for a in WITH_REFERENCES if a.name != "shokri"], ids=title)
def test_all_targets_at_once_score_as_each_alone(attack):
    together = bank(seed=6, models=8, records=50, leak=2.0)
    scores = together.run(attack)
    for t in (0, 3, 7):
        alone = replace(
            together,
            target=together.target[t],
            knowledge=replace(together.knowledge, usable=together.usable[t : t + 1]),
        )
        np.testing.assert_allclose(alone.run(attack), scores[t : t + 1], atol=1e-9)


@each_with_references
def test_a_target_among_its_own_references_is_an_error(attack):
    good = bank()
    everyone = np.ones_like(good.usable)
    for usable, message in ((everyone, "target 0 is among its own references"), (None, "among its own references")):
        with pytest.raises(ValueError, match=message):
            replace(good, knowledge=replace(good.knowledge, usable=usable)).run(attack)


@each_with_references
def test_without_references_there_is_a_reason(attack):
    good = bank()
    lonely = replace(good, knowledge=replace(good.knowledge, references=None, included=None, usable=None))
    with pytest.raises(NotApplicable, match="no reference models"):
        lonely.run(attack)


def test_too_few_references_are_a_reason():
    small = bank(models=4)  # beside the target's own pair there is one: one IN, one OUT
    for attack in (LiRA(), LiRA(online=False), AttackR()):
        with pytest.raises(NotApplicable, match="only 1 usable references"):
            small.run(attack)
    with pytest.raises(NotApplicable, match="choose `a`"):
        small.run(RMIA(online=False))
    assert np.isfinite(small.run(RMIA())).all() and np.isfinite(small.run(Shokri())).all()


def test_malformed_knowledge_is_an_error():
    good = bank()
    for change, message in (
        ({"included": good.included[:, :-1]}, "`included` has shape"),
        ({"usable": good.usable[:-1]}, "`usable` has shape"),
    ):
        with pytest.raises(ValueError, match=message):
            replace(good, knowledge=replace(good.knowledge, **change)).run(LiRA())
    with pytest.raises(NotApplicable, match="no usable reference"):
        replace(good, knowledge=replace(good.knowledge, usable=np.zeros_like(good.usable))).run(LiRA())
    with pytest.raises(NotApplicable, match="no candidates"):
        replace(good, knowledge=Knowledge(5)).run(Loss())
    for attack in (AttackP(), RMIA()):
        with pytest.raises(NotApplicable, match="no population"):
            replace(good, knowledge=replace(good.knowledge, population=None)).run(attack)
