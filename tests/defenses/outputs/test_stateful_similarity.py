from __future__ import annotations

import functools
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from privsec.attacks.evasion.hop_skip_jump import HopSkipJump
from privsec.attacks.membership.loss import Loss
from privsec.attacks.reprogramming.bar import BAR
from privsec.core import keys
from privsec.core.attack import Knowledge
from privsec.core.data import Examples
from privsec.core.errors import ConfigError, DataError, NotApplicable
from privsec.core.target import Target
from privsec.defenses.outputs.label_only import LabelOnly
from privsec.defenses.outputs.stateful_similarity import BLOCK, Dealings, StatefulSimilarity
from privsec.defenses.outputs.top_k import TopK
from privsec.nets.base import model_of
from privsec.nets.mlp import MLP
from privsec.ops.reprogram import decided, reprogrammed
from privsec.training import loop
from privsec.training.standard import Training
from tests.oracles import stateful as oracle

SHAPE = (8, 8, 1)
WALK = HopSkipJump(norm="l2", radius=1.0, points=5, queries=300, directions=20, targets=1)
PROGRAM = BAR(side=4, epochs=6, learning_rate=0.3, targets=1)


@functools.cache
def digits() -> Examples:
    """The records in random order, values in [0, 1]."""
    data = load_digits()
    order = np.random.default_rng(0).permutation(len(data.target))
    return Examples((data.data / 16).astype(np.float32).reshape(-1, *SHAPE)[order], data.target.astype(np.int32)[order])


@functools.cache
def trained():
    model, data = model_of(MLP(hidden=(32,)), SHAPE, 10), digits().take(np.arange(600))
    recipe = Training(learning_rate=0.01, batch_size=50, epochs=15).recipe(600)
    return model, loop.train(model, recipe, data, np.ones(600, bool), keys.root(0)).params


def public() -> Examples:
    return digits().take(np.arange(600, 1200))


def honest() -> np.ndarray:
    return np.asarray(digits().x[1200:])


def behind(*outputs) -> Target:
    return Target.of(*trained(), outputs=outputs)


def guarded(accounts: int = 1, **settings) -> StatefulSimilarity:
    return StatefulSimilarity(accounts=accounts, **settings).fitted(public())


def known() -> Knowledge:
    rng = np.random.default_rng(3)
    half = rng.integers(0, 2, 300).astype(np.int32)  # which half of a small picture is bright
    shown = np.repeat(np.stack([1 - half, half], axis=1), 2, axis=1)[:, :, None, None]
    task = Examples((shown * rng.uniform(0.5, 1, (300, 4, 4, 1))).astype(np.float32), half)
    return Knowledge(
        num_classes=10,
        candidates=digits().take(np.arange(1200, 1300)),
        points=digits().take(np.arange(1200, 1797)),
        box=(jnp.zeros(SHAPE), jnp.ones(SHAPE)),
        task=task,
    )


def walked(target: Target) -> tuple[float, np.ndarray]:
    """The share of points that were won within the radius, and what was found."""
    found = WALK.run(target.restrict(WALK.needs), known(), jax.random.key(0))
    clean = np.asarray(known().points.x)[found.rows]
    called = np.asarray(target.as_its_users().labels(found.x[0]))
    size = np.sqrt(np.sum((found.x[0] - clean) ** 2, axis=(1, 2, 3)))
    wrong = (called != found.y) & (called < 10)  # 10 is "refused"
    return float(np.mean(wrong & (size <= 1.0))), found.x[0]


def programmed(target: Target) -> np.ndarray:
    """What the program that was found makes the model call the task's records; -1 where it refuses."""
    found, task = PROGRAM.run(target.restrict(PROGRAM.needs), known(), jax.random.key(0)), known().task
    asked = reprogrammed(task.x, jnp.asarray(found.pattern[0]), 4, SHAPE, known().box)
    return np.asarray(decided(target.scores(asked), jnp.asarray(found.mapping[0]), target.model.rejects))


def bans(target: Target) -> list[int]:
    (session,) = target._client.sessions.values()
    return session.bans


# The rule.


@settings(max_examples=60)
@given(
    seed=st.integers(0, 10**6),
    count=st.integers(1, 60),
    neighbors=st.integers(1, 4),
    more=st.integers(0, 20),
    threshold=st.floats(0.05, 1.5),
    accounts=st.one_of(st.none(), st.integers(1, 4)),
    cuts=st.lists(st.integers(0, 60), max_size=4),
)
def test_the_rule_is_the_papers_however_many_queries_come_at_a_time(
    seed, count, neighbors, more, threshold, accounts, cuts
):
    x = np.random.default_rng(seed).normal(size=(count, 2, 3)).astype(np.float32)
    session = Dealings(neighbors, neighbors + more, threshold, accounts)
    made = np.concatenate([session.refused(part) for part in np.split(x, sorted(cuts))])
    limit = np.inf if accounts is None else accounts
    wanted, banned = oracle.refused(x.reshape(count, -1).tolist(), neighbors, neighbors + more, threshold, limit)
    assert made.tolist() == wanted
    assert session.bans == banned
    assert session.asked == count


def test_more_queries_than_a_block_are_compared_alike():
    x = np.random.default_rng(0).normal(size=(2 * BLOCK + 30, 4)).astype(np.float32)
    session = Dealings(3, 300, 0.25, None)
    wanted, banned = oracle.refused(x.tolist(), 3, 300, 0.25, np.inf)
    assert session.refused(x).tolist() == wanted
    assert session.bans == banned and len(banned) > 3


def test_the_threshold_is_a_quantile_of_the_defenders_own_distances():
    x = np.random.default_rng(1).normal(size=(120, 5)).astype(np.float32)
    made = StatefulSimilarity(neighbors=4, false_positives=0.05).fitted(Examples(x, np.zeros(120, np.int32)))
    assert made.threshold == pytest.approx(oracle.threshold(x.tolist(), 4, 0.05), rel=1e-6)
    assert made.window == 119  # among more, the nearest would be nearer


def test_ties_raise_no_alarm():
    """Where honest records repeat each other, the threshold is zero and nobody is banned for repeating one."""
    records = np.repeat(np.eye(5, dtype=np.float32), 100, axis=0)
    made = StatefulSimilarity().fitted(Examples(records, np.zeros(500, np.int32)))
    assert made.threshold == 0
    assert not made.session(1).refused(records).any()


# Honest users.


def test_honest_queries_raise_no_more_alarms_than_stated():
    for share in (0.02, 0.1):
        session = guarded(false_positives=share).session(None)
        refused = session.refused(honest())
        # Three standard errors of the share among these, and of the threshold from the public ones.
        error = 3 * np.sqrt(share * (1 - share) * (1 / len(refused) + 1 / public().size))
        assert refused.mean() <= share + error
        assert 0 < refused.mean()


def test_unrelated_random_queries_are_not_banned():
    assert not guarded().session(1).refused(np.random.default_rng(0).uniform(size=(3000, *SHAPE))).any()


def test_a_few_queries_ban_nobody():
    assert not guarded().session(1).refused(np.repeat(honest()[:1], 10, axis=0)).any()
    assert guarded().session(1).refused(np.repeat(honest()[:1], 12, axis=0)).tolist() == [False] * 10 + [True] * 2


def test_users_keep_the_answers_they_had_but_for_false_alarms():
    plain, users = behind(), behind(guarded()).as_its_users()
    own, same = np.asarray(users.labels(honest())), np.asarray(plain.labels(honest()))
    np.testing.assert_array_equal(own[own < 10], same[own < 10])
    assert np.mean(own == 10) <= 0.02
    np.testing.assert_array_equal(own, users.labels(honest()))  # and they are no client whose memory fills up
    np.testing.assert_allclose(users.log_scores(honest()[:5])[:, :10], plain.log_scores(honest()[:5]), atol=1e-5)


# Attackers.


def test_a_walk_is_detected_within_tens_of_queries_and_more_accounts_get_further():
    open_, _ = walked(behind())
    target = behind(guarded())
    closed, _ = walked(target)
    (banned,) = bans(target)
    assert banned <= 20 * WALK.points
    assert open_ >= 0.8 and closed <= 0.2
    many, _ = walked(behind(guarded(accounts=1000)))
    assert many >= closed + 0.4


def test_records_inside_one_program_are_detected_within_tens_of_queries():
    weights = jax.random.normal(jax.random.key(5), SHAPE)
    asked = reprogrammed(known().task.x, jax.nn.sigmoid(weights), 4, SHAPE, known().box)
    target = behind(guarded())
    called = np.asarray(target.labels(asked))
    assert bans(target)[0] <= 30
    assert (called[bans(target)[0] :] == 10).all()


@pytest.mark.slow
def test_the_search_for_a_program_is_detected_and_more_accounts_get_further():
    truth = np.asarray(known().task.y)
    open_ = np.mean(programmed(behind()) == truth)
    assert open_ > 0.6
    target = behind(guarded())
    assert (programmed(target) == -1).all()
    assert bans(target)[0] <= 30
    assert np.mean(programmed(behind(guarded(accounts=10**6))) == truth) > 0.1


def test_other_attacks_before_it_and_another_run_change_nothing():
    target = behind(guarded(accounts=3))
    _, first = walked(target)
    Loss().run(target.restrict(Loss.needs), known(), jax.random.key(1))
    _, again = walked(target.as_new_client())
    _, anew = walked(behind(guarded(accounts=3)))
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(first, anew)
    assert np.asarray(target.labels(honest()[:1])).tolist() == [10]  # but the client itself is known


def test_each_model_of_a_stack_has_its_own_memory():
    model, params = trained()
    two = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), params)
    target = Target.of(model, two, outputs=[guarded()])
    repeated = np.repeat(honest()[:1], 12, axis=0)
    assert np.sum(np.asarray(target[0].labels(repeated)) == 10) == 2
    answers = np.asarray(target.labels(honest()[:1]))
    assert answers[0] == 10 and answers[1] < 10


# Off, out of place, beside others.


def test_at_strength_zero_it_is_not_there():
    off = StatefulSimilarity(false_positives=0)
    assert off.fitted(public()) is off
    target = behind(off)
    assert target.traceable and target.model is trained()[0] and target.as_new_client() is target
    np.testing.assert_array_equal(target.log_scores(honest()[:9]), behind().log_scores(honest()[:9]))


def test_it_stands_among_other_defenses():
    for outputs in ((TopK(k=2), guarded(), LabelOnly()), (LabelOnly(), guarded(), TopK(k=2))):
        target = behind(*outputs)
        answers = np.asarray(target.labels(np.repeat(honest()[:1], 12, axis=0)))
        assert answers[:10].tolist() == np.asarray(behind().labels(honest()[:1])).tolist() * 10
        assert answers[10:].tolist() == [10, 10]


def test_a_compiled_question_is_refused_with_a_reason():
    target = behind(guarded())
    with pytest.raises(NotApplicable, match=r"core\.target\.compiled"):
        jax.jit(lambda x: target.labels(x))(honest()[:3])
    with pytest.raises(NotApplicable, match="query by query"):
        jax.vmap(lambda x: target.as_its_users().labels(x[None])[0])(jnp.asarray(honest()[:3]))


def test_without_a_threshold_or_with_too_few_records_it_says_what_to_do():
    with pytest.raises(ConfigError, match="fitted"):
        behind(StatefulSimilarity()).labels(honest()[:1])
    with pytest.raises(DataError, match="needs 99"):
        StatefulSimilarity().fitted(public().take(np.arange(98)))
    with pytest.raises(ConfigError, match="never holds 10"):
        StatefulSimilarity(window=9)
    written = StatefulSimilarity(threshold=0.5)
    assert written.fitted(public()) is written


def test_a_long_series_is_watched_in_no_time():
    x = np.random.default_rng(0).normal(size=(5000, 64)).astype(np.float32)
    start = time.perf_counter()
    StatefulSimilarity(threshold=0.1).session(None).refused(x)
    assert time.perf_counter() - start < 5
