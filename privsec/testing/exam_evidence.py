"""What evidence of each kind must look like, whatever was attacked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from privsec.core.access import Access
from privsec.core.evidence import (
    Evidence,
    MembershipScores,
    Perturbed,
    Predictions,
    Program,
    Reconstructions,
    StolenModel,
    Triggered,
)
from privsec.core.target import Target
from privsec.measures.evasion import self_checks
from privsec.testing.exam import require
from privsec.testing.toy_amplification import AmplificationWorld
from privsec.testing.toy_evasion import EvasionWorld
from privsec.testing.worlds import World

IDLE = 0.05
"""Share of the changed records that may not succeed: one on the boundary may fall to either side when asked again."""


def count_of(found: Evidence) -> int:
    """T, for how many targets this is evidence."""
    return len(_leaves(found)[0])


def is_finite(found: Evidence) -> bool:
    """Whether there is a finite number for every target."""
    return all(np.isfinite(leaf).reshape(len(leaf), -1).any(axis=1).all() for leaf in _leaves(found))


def _leaves(found: Evidence) -> list:
    """The arrays [T, ...] of what was found."""
    return jax.tree.leaves(found.params if isinstance(found, StolenModel) else found[0])


def of_membership(found: MembershipScores, world: World) -> None:
    """Scores are finite but for candidates that a query budget leaves out."""
    candidates = world.knowledge.candidates
    assert candidates is not None
    expected = (world.bank.size, candidates.size)
    scores = np.asarray(found.scores)
    require(scores.shape == expected, f"scores have shape {scores.shape}, [T, N] is {expected}")
    attacked = ~np.isnan(scores)
    require(not np.isinf(scores).any(), "some scores are infinite: keep likelihoods in log space, floor variances")
    require(attacked.any(axis=1).all(), "no candidate of some target has a score")
    some = found.queries != 1.0 or isinstance(world, AmplificationWorld)
    require(
        (attacked == attacked[0]).all() and (attacked.all() or some),
        "some scores are NaN, which says `not attacked`: leave out the same candidates for every target, and only "
        "for want of queries, or where others are the victims of poisoning",
    )


def of_reconstruction(found: Reconstructions, world: World) -> None:
    """Reconstructions lie in the box."""
    x, shape = np.asarray(found.x), world.bank.model.shape
    require(x.shape[1:] == (np.shape(found.y)[-1], *shape), f"x has shape {x.shape}, expected [T, K, {shape}]")
    _in_box(x, world)


def of_confidence(found: Reconstructions, bank: Target) -> None:
    """Confidence is the target's own: its probability of the class, or whether it calls a record so to who sees that.

    Args:
        found: what was rebuilt of classes.
        bank: the targets, restricted to the access of the attack.
    """
    x, y = jnp.asarray(found.x), np.asarray(found.y)
    if Access.SCORES in bank.grants:
        own = [np.asarray(bank[t].scores(x[t]))[np.arange(len(y)), y] for t in range(len(x))]
        what = "the target's own probability of `y` at `x`"
    else:
        own = [np.asarray(bank[t].labels(x[t])) == y for t in range(len(x))]
        what = "whether the target calls `x` so"
    require(np.allclose(own, np.asarray(found.confidence), atol=1e-3), f"`confidence` is not {what}")


def of_perturbation(found: Perturbed, world: World) -> None:
    """Changed records belong to points, lie in the box, and are the clean ones where nothing was found."""
    points = world.knowledge.points
    assert points is not None
    x, rows = np.asarray(found.x), np.asarray(found.rows)
    expected = (len(x), len(rows), *world.bank.model.shape)
    require(x.shape == expected, f"x has shape {x.shape}, expected [T, N, ...] {expected}")
    require(rows.size and np.all(np.diff(rows) > 0) and rows[-1] < points.size, "`rows` are not rows of the points")
    clean, y, goal = np.asarray(points.x)[rows], np.asarray(points.y)[rows], np.asarray(found.goal)
    require(np.array_equal(found.y, y), "`y` are not the labels of the points in `rows`")
    require(goal.shape == y.shape and not np.any(goal == y), "some point already has the class it is to be taken for")
    _in_box(x, world)
    for name in ("queries", "gradients"):
        spent = np.asarray(getattr(found, name))
        require(
            spent.shape == expected[:2] and np.isfinite(spent).all() and spent.min() >= 0,
            f"`{name}` must be counts [T, N], one a point; got an array of shape {spent.shape}",
        )
    if isinstance(world, EvasionWorld):
        failures, _ = self_checks(found, world.truth(found), bounded=world.bounded)
        require(not failures, "; ".join(failures))
    moved = np.any(x != clean, axis=tuple(range(2, x.ndim)))
    called = np.stack([np.asarray(world.bank[t].labels(jnp.asarray(x[t]))) for t in range(len(x))])
    idle = moved & ~np.where(goal == -1, called != y, called == goal)
    require(
        idle.sum() <= IDLE * moved.size,
        f"{int(idle.sum())} of {moved.size} records are changed without success: hand over the clean record there",
    )


def of_program(found: Program, world: World) -> None:
    """A program fits into the target's input, and each class of the task is a mean of the target's classes."""
    pattern, mapping = np.asarray(found.pattern), np.asarray(found.mapping)
    shape, low, high = world.bank.model.shape, *(np.asarray(end) for end in world.knowledge.box or (-np.inf, np.inf))
    require(pattern.shape[1:] == shape, f"the pattern has shape {pattern.shape}, expected [T, {shape}]")
    require(np.isfinite(pattern).all(), "the pattern is not finite")
    require(np.abs(pattern).max() <= np.max(high - low), "the pattern is larger than the box is wide")
    require(
        mapping.shape[:2] == (len(pattern), world.bank.model.num_classes),
        f"the map of labels has shape {mapping.shape}, expected [T, C, G]",
    )
    require(mapping.min() >= 0 and np.allclose(mapping.sum(axis=1), 1), "a column of the map is no mean of classes")


def of_prediction(found: Predictions, world: World) -> None:
    """Every value of the attribute has a finite score for each record, with the target and without."""
    hidden = world.knowledge.hidden
    assert hidden is not None
    expected = (hidden.records.size, len(hidden.attribute.values))
    scores, imputed = np.asarray(found.scores), np.asarray(found.imputed)
    require(scores.shape[1:] == expected, f"scores have shape {scores.shape}, expected [T, K, V] with {expected}")
    require(imputed.shape == expected, f"imputed scores have shape {imputed.shape}, expected [K, V] = {expected}")
    require(np.isfinite(scores).all() and np.isfinite(imputed).all(), "some scores are not finite")


def of_theft(found: StolenModel, world: World) -> None:
    """There is a student, and one without the target's answers, for each of rising budgets."""
    budgets = np.asarray(found.budgets)
    require(budgets.size and budgets[0] >= 0 and np.all(np.diff(budgets) > 0), "budgets must rise")
    for students in (found.params, found.null):
        sizes = {np.shape(leaf)[:2] for leaf in jax.tree.leaves(students)}
        require(sizes == {(count_of(found), len(budgets))}, f"students come as [T, Q, ...]; got {sorted(sizes)}")
    require(found.model.shape == world.bank.model.shape, "the student does not read the target's inputs")


def of_trigger(found: Triggered, world: World) -> None:
    """Records asked about are the attacker's points, changed inside the box or not, that are not what they should."""
    points = world.knowledge.points
    assert points is not None
    x, y, goal, rows = (np.asarray(part) for part in found)
    expected = (*rows.shape, *world.bank.model.shape)
    require(x.shape == expected, f"x has shape {x.shape}, expected [T, N, ...] {expected}")
    require(y.shape == goal.shape == rows.shape, f"`y`, `goal` and `rows` are [T, N]; got {y.shape} and {goal.shape}")
    require(rows.size and rows.min() >= 0 and rows.max() < points.size, "`rows` are not rows of the points")
    require(np.array_equal(y, np.asarray(points.y)[rows]), "`y` are not the labels of the points in `rows`")
    require(not np.any(goal == y), "some record already has the class it is to be taken for")
    require(goal.min() >= -1 and goal.max() < world.bank.model.num_classes, "some goal is no class")
    _in_box(x, world)


def _in_box(x: np.ndarray, world: World) -> None:
    low, high = (np.asarray(end) for end in world.knowledge.box or (-np.inf, np.inf))
    require(np.isfinite(x).all(), "a record is not finite")
    require(np.all(x >= low) and np.all(x <= high), "a record lies outside `knowledge.box`")


SHAPES: Mapping[type, Callable[[Any, World], None]] = {
    MembershipScores: of_membership,
    Reconstructions: of_reconstruction,
    Perturbed: of_perturbation,
    Program: of_program,
    Predictions: of_prediction,
    StolenModel: of_theft,
    Triggered: of_trigger,
}
"""What is required of each kind of evidence."""
