"""Every score against a naive computation from the same random logits."""

from dataclasses import replace

import numpy as np
import pytest

from privsec.attacks.membership import attack_r, lira, rmia
from privsec.attacks.membership.attack_p import AttackP
from privsec.attacks.membership.attack_r import AttackR
from privsec.attacks.membership.confidence import Confidence
from privsec.attacks.membership.correctness import Correctness
from privsec.attacks.membership.entropy import Entropy
from privsec.attacks.membership.lira import LiRA
from privsec.attacks.membership.loss import Loss
from privsec.attacks.membership.modified_entropy import ModifiedEntropy
from privsec.attacks.membership.rmia import RMIA
from privsec.core.errors import AccessError
from tests.attacks.membership.banks import bank, pairs, usable_of
from tests.oracles import membership as oracle


@pytest.fixture(scope="module")
def random():
    return bank(seed=11, models=16, records=30, population=25, leak=1.5)


def phi_of(random):
    return oracle.true_class(random.logits, random.y)[1]


@pytest.mark.parametrize("variance", ["pooled", "per_example", "shrunk"])
@pytest.mark.parametrize("online", [True, False])
def test_lira(random, online, variance):
    phi = phi_of(random)
    slow = oracle.lira(phi, phi, random.included, random.usable, online, variance)
    fast = lira.likelihood_ratio(phi, phi, random.included, random.usable, online=online, variance=variance)
    np.testing.assert_allclose(fast, slow, atol=1e-9)
    np.testing.assert_allclose(random.run(LiRA(online=online, variance=variance)), slow, rtol=1e-5, atol=1e-5)


def test_lira_takes_a_common_variance_for_few_references_and_one_a_record_for_many(random):
    np.testing.assert_array_equal(random.run(LiRA()), random.run(LiRA(variance="pooled")))
    many = bank(seed=1, models=66, records=10)
    np.testing.assert_array_equal(many.run(LiRA()), many.run(LiRA(variance="per_example")))


def test_offline_lira_does_not_saturate():
    """At 40 standard deviations a normal distribution function is exactly 1; the z-score still tells 40 from 41."""
    phi, references = np.array([[40.0, 41.0]]), np.array([[-1.0, -1.0], [1.0, 1.0]])
    scores = lira.likelihood_ratio(phi, references, np.zeros((2, 2), bool), np.ones((1, 2), bool), online=False)
    assert scores[0, 1] > scores[0, 0] > 20


@pytest.mark.parametrize("a", [None, 0.0, 0.3, 1.0])
def test_rmia_ratio(random, a):
    p = np.exp(oracle.true_class(random.logits, random.y)[0])
    a = None if a is None else np.full(len(p), a)
    slow = oracle.rmia_ratio(p, p, random.included, random.usable, a)
    fast = rmia.log_ratio(np.log(p), np.log(p), random.included, random.usable, a=a)
    np.testing.assert_allclose(np.exp(fast), slow, rtol=1e-9)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_rmia_share_is_the_whole_matrix_of_comparisons(gamma):
    rng = np.random.default_rng(0)
    x, z = rng.lognormal(size=(3, 50)), rng.lognormal(size=(3, 40))
    fast = rmia.preferred_share(np.log(x), np.log(z), gamma)
    slow = oracle.rmia_share(x, z, gamma)
    np.testing.assert_array_equal(np.floor(fast * (40 + 1)) / 40, slow)
    for row, ratio in zip(fast, x, strict=True):
        np.testing.assert_array_equal(np.argsort(row), np.argsort(ratio))


@pytest.mark.parametrize(("online", "a"), [(True, None), (False, 0.3)])
def test_rmia(random, online, a):
    p, pz = (np.exp(oracle.true_class(*of)[0]) for of in
             ((random.logits, random.y), (random.population_logits, random.population_y)))  # fmt: skip
    ratio = oracle.rmia_ratio(p, p, random.included, random.usable, None if online else np.full(len(p), a))
    population = oracle.rmia_population_ratio(pz, pz, random.usable)
    scores = random.run(RMIA(online=online, a=a, temperature=1.0, gamma=1.1))
    np.testing.assert_allclose(np.floor(scores * 26) / 25, oracle.rmia_share(ratio, population, 1.1), atol=1e-12)


def test_rmia_at_temperature_one_compares_the_models_own_probabilities(random):
    log_p, phi = oracle.true_class(random.logits, random.y)
    np.testing.assert_allclose(rmia.log_probability(phi, 1.0), log_p, atol=1e-12)
    np.testing.assert_allclose(np.exp(rmia.log_probability(phi, 4.0)), 1 / (1 + np.exp(-phi / 4)), atol=1e-12)


def test_rmia_chooses_the_a_that_attacks_references_best():
    """IN probabilities are built as 1 - a + a p_out for a = 0.6; the choice must not miss by far."""
    rng, records = np.random.default_rng(0), 2000
    included, usable = pairs(12, records, rng), usable_of(12)
    out = rng.uniform(0.01, 0.9, records) * np.exp(rng.normal(0, 0.2, (12, records)))
    p = np.clip(np.where(included, 0.6 * out + 0.4, out), 1e-6, 1 - 1e-6)
    settings = [(1.0, a) for a in rmia.SHARES]
    chosen = rmia.choose(np.log(p) - np.log1p(-p), included, usable, settings)
    assert chosen.shape == (12, 2)

    def quality(a):
        ratio = rmia.log_ratio(np.log(p), np.log(p), included, usable, a=np.full(12, a))
        return np.mean([oracle.auc(row, member) for row, member in zip(ratio, included, strict=True)])

    best = max(quality(a) for a in rmia.SHARES)
    assert all(best - quality(a) < 0.005 for a in set(chosen[:, 1]))
    assert quality(1.0) < best - 0.02  # so there was something to choose


def test_rmia_chooses_its_settings_without_reading_the_target():
    """Another answer of the target, or another membership of it, changes no choice of its attacker."""
    rng, records = np.random.default_rng(1), 500
    included, usable = pairs(8, records, rng), usable_of(8)
    margins = rng.normal(0, 2, (8, records)) + 3 * included
    other = margins.copy(), included.copy()
    other[0][:2], other[1][:2] = rng.normal(0, 9, (2, records)), pairs(2, records, rng)
    for shares in ((None,), (0.2, 0.8)):
        settings = [(t, a) for t in rmia.TEMPERATURES for a in shares]
        before = rmia.choose(margins, included, usable, settings)
        np.testing.assert_array_equal(rmia.choose(*other, usable, settings)[:2], before[:2])


def test_rmia_attacks_every_target_with_the_temperature_its_attacker_chose(random, monkeypatch):
    per_target = np.array([[rmia.TEMPERATURES[t % 3], np.nan] for t in range(len(random.usable))])
    monkeypatch.setattr(rmia, "choose", lambda *_: per_target)
    mixed = random.run(RMIA())
    for t, (temperature, _) in enumerate(per_target):
        np.testing.assert_allclose(mixed[t], random.run(RMIA(temperature=temperature))[t], rtol=1e-12)


def test_attack_r(random):
    phi = phi_of(random)
    count, total = oracle.outdone(phi, phi, random.included, random.usable)
    scores = random.run(AttackR())
    np.testing.assert_array_equal(np.floor(scores * (total + 1)), count)
    # Among equal shares the distance from the OUT references decides.
    z = oracle.lira(phi, phi, random.included, random.usable, online=False, variance="pooled")
    for t in range(len(phi)):
        same = count[t] == total[t]
        np.testing.assert_array_equal(np.argsort(scores[t, same]), np.argsort(z[t, same]))


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 1.0])
def test_attack_r_counts_alike_whether_few_or_most_references_are_usable(share):
    rng = np.random.default_rng(0)
    phi, references = (np.round(rng.normal(size=(n, 40)), 1) for n in (5, 12))  # many are equal
    phi[0, 0] = -np.inf
    included, usable = rng.random((12, 40)) < 0.5, rng.random((5, 12)) < share
    usable[:, 0], included[0] = True, False
    below, total = oracle.outdone(phi, references, included, usable)
    not_above, _ = oracle.outdone(np.nextafter(phi, np.inf), references, included, usable)
    found = attack_r.outdone_share(phi, references, included, usable) * (total + 1)
    np.testing.assert_array_equal(np.floor(found - (below + not_above) / 2 + 1e-9), 0)  # ties are broken in [0, 1)


def test_attack_p(random):
    loss, population = -oracle.true_class(random.logits, random.y)[0], -oracle.true_class(
        random.population_logits, random.population_y)[0]  # fmt: skip
    share = (population[:, None, :] > loss[:, :, None]).sum(-1)
    np.testing.assert_array_equal(np.floor(random.run(AttackP()) * 26), share)
    of_class = random.run(AttackP(per_class=True))
    for label in np.unique(random.population_y):
        mine, theirs = random.y == label, random.population_y == label
        share = (population[:, None, theirs] > loss[:, mine, None]).sum(-1)
        np.testing.assert_array_equal(np.floor(of_class[:, mine] * (theirs.sum() + 1)), share)


def test_signals(random):
    log_p, phi = oracle.true_class(random.logits, random.y)
    close = {"rtol": 1e-5, "atol": 1e-5}
    np.testing.assert_allclose(random.run(Loss()), log_p, **close)
    np.testing.assert_allclose(random.run(Confidence(per_class=False)), phi, **close)
    np.testing.assert_allclose(random.run(Entropy(per_class=False)), -np.log(oracle.entropy(random.logits)), **close)
    expected = -np.log(oracle.modified_entropy(random.logits, random.y))
    np.testing.assert_allclose(random.run(ModifiedEntropy(per_class=False)), expected, **close)
    np.testing.assert_array_equal(random.run(Correctness()), random.logits.argmax(-1) == random.y)


def test_thresholds_of_each_class_are_learnt_on_out_references(random):
    phi, scores = phi_of(random), random.run(Confidence())
    for t, label in ((0, 0), (3, 2), (9, 4)):
        mine = random.y == label
        outside = np.concatenate([phi[m, mine & ~random.included[m]] for m in np.flatnonzero(random.usable[t])])
        expected = (phi[t, mine] - outside.mean()) / outside.std()
        np.testing.assert_allclose(scores[t, mine], expected, rtol=1e-4, atol=1e-4)


def test_labels_alone_serve_the_gap_attack_and_no_other(random):
    blunt = replace(random, target=random.target.restrict(Correctness.needs))
    assert set(np.unique(blunt.run(Correctness()))) == {0.0, 1.0}
    with pytest.raises(AccessError):
        blunt.run(Loss())
