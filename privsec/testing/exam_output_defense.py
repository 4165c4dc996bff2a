"""What a defense of the answers has to pass: distributions in, distributions out, and nothing beside them."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from privsec.core.access import Access
from privsec.core.data import Examples
from privsec.core.defense import Defense, OutputDefense, RememberingDefense, remembers
from privsec.core.target import Target
from privsec.testing import exam_training_defense as training
from privsec.testing.exam import require


def changes_nothing(defense: OutputDefense) -> bool:
    """Whether it answers what the model answered, and remembers nothing."""
    log_scores, x = _answers()
    return not remembers(defense) and np.array_equal(defense.on_outputs(log_scores, x, _secret()), log_scores)


def keeps_to_its_stage(defense: OutputDefense) -> None:
    """Log-scores in, log-scores out."""
    log_scores, x = _answers()
    defense = _served(defense)
    ask = defense.on_outputs
    made = ask(log_scores, x, _secret()) if remembers(defense) else jax.eval_shape(ask, log_scores, x, _secret())
    require(
        (made.shape, made.dtype) == (log_scores.shape, log_scores.dtype),
        f"`on_outputs` makes {made.dtype}{list(made.shape)} of {log_scores.dtype}{list(log_scores.shape)}",
    )


def distribution(defense: OutputDefense) -> None:
    """A defended answer is a finite distribution over the classes, compiled or not, alone or in a batch.

    One that remembers is not compiled, and has nothing to hold against who asks for the first time.
    """
    log_scores, x = _answers()
    defense = _served(defense)
    made = np.asarray(defense.on_outputs(log_scores, x, _secret()))
    require(np.isfinite(made).all(), "some log-scores are not finite: keep a floor under withheld scores")
    require(
        np.allclose(np.exp(made.astype(np.float64)).sum(axis=-1), 1, atol=1e-4),
        "scores do not sum to one: normalize what is answered",
    )
    if remembers(defense):
        first = defense.on_outputs(log_scores[:1], x[:1], _secret())
        require(np.array_equal(first, log_scores[:1]), "a client's first query is not answered as the model answers it")
        return
    compiled = np.asarray(jax.jit(defense.on_outputs)(log_scores, x, _secret()))
    require(np.allclose(compiled, made, atol=1e-4), "the compiled answer differs: use jax.numpy, no Python on values")
    single = jax.vmap(lambda row, query: defense.on_outputs(row[None], query[None], _secret())[0])(log_scores, x)
    require(np.allclose(single, made, atol=1e-4), "an answer depends on the other queries of its batch")


def repetition(defense: OutputDefense) -> None:
    """The same query gets the same answer, at any time and place, so that nothing can be averaged away.

    Where a defense remembers, the same queries in the same order do, however many are asked at a time and whatever
    other clients ask.
    """
    log_scores, x = _answers()
    defense = _served(defense)
    if remembers(defense):
        _repeats_a_series(defense)
        return
    turned = defense.on_outputs(log_scores[::-1], x[::-1], _secret())[::-1]
    require(
        np.allclose(turned, defense.on_outputs(log_scores, x, _secret()), atol=1e-5),
        "the answer hangs on the query's place in the batch: draw noise from `secret` and the bits of `x`",
    )


def leaves(defense: Defense) -> None:
    """An endpoint leaves the attacker what `leaves` declares and no more."""
    if not isinstance(defense, OutputDefense):
        return
    require(
        defense.leaves in Access.SCORES,
        f"`leaves` is {defense.leaves.title}; behind a defense of the answers at most scores are left",
    )
    if defense.leaves == Access.LABELS:
        log_scores, x = _answers()
        defense, label = _served(defense), jnp.argmax(log_scores, axis=-1)
        bare = jax.nn.log_softmax(10 * jax.nn.one_hot(label, log_scores.shape[-1]))
        made, again = (defense.on_outputs(scores, x, _secret()) for scores in (log_scores, bare))
        require(np.array_equal(made, again), "answers with equal labels differ, so they tell more than the label")


def accuracy(defense: OutputDefense) -> float:
    """The share of fresh records that a model behind the defense gets right."""
    served = defense.fitted(training.blobs(2))
    target = Target.of(training.plain_model(), training.trained(), _secret(), (served,))
    return training.accuracy_of(target.as_its_users())


def _repeats_a_series(defense: RememberingDefense) -> None:
    log_scores, x = map(np.asarray, _answers())
    series = np.arange(600) % 3  # about few records again and again: somewhere a client becomes suspicious
    one, other, neighbor = (defense.session(2) for _ in range(3))
    at_once = one.answered(log_scores[series], x[series])
    single = []
    for row in series:
        neighbor.answered(log_scores[row : row + 1], x[row : row + 1] + 1)
        single.append(other.answered(log_scores[row : row + 1], x[row : row + 1]))
    require(
        np.array_equal(at_once, np.concatenate(single)),
        "the answers hang on how many queries come at a time, on other clients or on chance: keep all that is "
        "remembered in the session, and take the queries in their order",
    )


def _served(defense: OutputDefense) -> OutputDefense:
    """The defense with thresholds of records like the exam's queries."""
    x = np.random.default_rng(1).normal(size=(400, 3)).astype(np.float32)
    return defense.fitted(Examples(x, np.zeros(400, np.int32)))


def _secret() -> jax.Array:
    """The endpoint's key."""
    return jax.random.key(7)


def _answers() -> tuple[jax.Array, jax.Array]:
    """Log-scores [64, 5] from even to certain, ties among them, and the queries they answer."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(64, 5)) * np.geomspace(0.01, 30, 64)[:, None]
    logits[0], logits[1, :2] = 0.0, 9.0
    x = rng.normal(size=(64, 3))
    return jax.nn.log_softmax(jnp.asarray(logits, jnp.float32)), jnp.asarray(x, jnp.float32)
