"""Programs, tried on records of the task that the attacker did not have, beside three nulls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import jax
import jax.numpy as jnp
import numpy as np

from privsec.core import keys
from privsec.core.access import Access
from privsec.core.estimate import Estimate
from privsec.core.evidence import Program
from privsec.core.target import Target
from privsec.measures import reprogramming
from privsec.ops.reprogram import decided, embedded, reprogrammed
from privsec.runner.case import Case, Judgement, labels, log_scores, logits
from privsec.runner.judging import explained

if TYPE_CHECKING:
    from privsec.attacks.reprogramming.base import Reprogramming


def judged(evidence: Program, case: Case) -> Judgement:
    """The measures of reprogramming, and pictures of the programs."""
    attack, world = cast("Reprogramming", case.attack), case.world
    target, task = case.target[: len(evidence.pattern)], world.task(attack.task)
    limit = world.experiment.population.points
    x, y = (np.asarray(part)[:limit] for part in task.test)
    programmed = _programmed(evidence, target, x, case)
    ordinary = np.asarray(world.population.x[:limit], np.float32)
    twin = _twin(target, keys.derive(case.key, "twin"))
    programs_of_twin = cast(Program, case.attacked(twin))
    truth = reprogramming.ReprogrammingTruth(
        y=y,
        called=_called(evidence, target, programmed, attack.needs),
        called_twin=_called(programs_of_twin, twin, _programmed(programs_of_twin, twin, x, case), attack.needs),
        called_probe=reprogramming.probe(task.train, x),
        majority=int(np.argmax(np.bincount(np.asarray(task.train.y)))),
        seen=reprogramming.Seen(ordinary, programmed, logits(target, ordinary), logits(target, programmed)),
    )
    facts = {
        "queries": float(evidence.queries),
        "task": attack.task.to_json(),
        "task_classes": list(task.class_names),
        "side": int(evidence.side),
    }
    arrays = reprogramming.exhibits(evidence, truth, x)
    asked = arrays["programmed"][0]
    plain = np.asarray(embedded(arrays["task"], evidence.side, target.model.shape, world.box))
    arrays |= explained.programmed(target, plain, asked, labels(target[:1], asked)[0])
    won, null = truth.called == y, _null(truth)
    return Judgement(reprogramming.measure(evidence, truth), facts, {**arrays, "won": won, "null": null})


def estimates(
    per_target: Mapping[str, np.ndarray], facts: Mapping[str, Any], seeds: np.ndarray | None
) -> dict[str, Estimate]:
    """The Estimates."""
    del facts
    return reprogramming.estimates(per_target, seeds)


def _null(truth: reprogramming.ReprogrammingTruth) -> np.ndarray:
    """Which records the best null has right, bool [T, N]."""
    every = (truth.called_probe, truth.called_twin, np.full(truth.y.shape, truth.majority))
    right = np.stack([np.broadcast_to(called == truth.y, truth.called.shape) for called in every])
    return right[np.argmax(right.mean(axis=2), axis=0), np.arange(len(truth.called))]


def _twin(target: Target, key: jax.Array) -> Target:
    """The same architecture with random weights, one for each target."""
    params = [target.model.init(jax.random.fold_in(key, t)) for t in range(target.size or 0)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *params)
    return Target.of(target.model, stacked, target._secret, target.outputs, grants=target.grants)


def _programmed(evidence: Program, target: Target, x: np.ndarray, case: Case) -> np.ndarray:
    """What each target is asked [T, N, ...]: the task's records inside its program."""
    shape, box = target.model.shape, case.world.box
    each = [reprogrammed(jnp.asarray(x), jnp.asarray(one), evidence.side, shape, box) for one in evidence.pattern]
    return np.stack([np.asarray(one) for one in each])


def _called(evidence: Program, target: Target, programmed: np.ndarray, needs: Access) -> np.ndarray:
    """The task's classes [T, N] that the answers stand for."""
    answers = np.exp(log_scores(target, programmed))
    if Access.SCORES not in needs:
        answers = np.eye(answers.shape[-1], dtype=np.float32)[np.argmax(answers, axis=-1)]
    each = zip(answers, np.asarray(evidence.mapping), strict=True)
    return np.stack([np.asarray(decided(jnp.asarray(a), jnp.asarray(m), target.model.rejects)) for a, m in each])
