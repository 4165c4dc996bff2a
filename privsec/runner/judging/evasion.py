"""Changed records: the target is asked again about each of them, and about random changes of the same size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import jax
import jax.numpy as jnp
import numpy as np

from privsec.core import keys
from privsec.core.estimate import Estimate
from privsec.core.evidence import Perturbed
from privsec.core.target import Target
from privsec.measures import evasion
from privsec.measures.outcomes import EvasionTruth, wins
from privsec.ops.ascend import Norm
from privsec.ops.space import Space
from privsec.runner.case import Case, Judgement, labels
from privsec.runner.judging import explained

if TYPE_CHECKING:
    from privsec.attacks.evasion.base import Evasion

DRAWS = 10
"""Fresh answers of a model that answers at random, for each record."""
NOISES = 3
"""Random changes of each record, for the null."""


def judged(evidence: Perturbed, case: Case) -> Judgement:
    """The measures of evasion, and pictures of records before and after."""
    attack, world = cast("Evasion", case.attack), case.world
    x = np.asarray(world.dataset.x[world.points(attack.source)][evidence.rows], np.float32)
    low, high = (np.asarray(end) for end in world.box)
    x = np.clip(x, low, high)
    target = case.target[: len(evidence.x)]
    draws = DRAWS if target.random else 1
    asked = [keys.derive(case.key, "judge", d) for d in range(draws)] if target.random else [None]
    space = Space(jnp.asarray(low), jnp.asarray(high), world.dataset.constraints)
    noise = [_noise(x, space, attack.norm, attack.radius, keys.derive(case.key, "noise", d)) for d in range(NOISES)]
    truth = EvasionTruth(
        x=x,
        called_clean=_called(target, x, asked[:1])[0],
        called=_called(target, np.asarray(evidence.x), asked),
        called_naive=None if evidence.naive is None else _called(target, np.asarray(evidence.naive), asked),
        called_noise=np.stack([_called(target, changed, asked[:1])[0] for changed in noise]),
        rejected=target.model.num_classes - 1 if target.model.rejects else None,
        norm=attack.norm,
        radius=attack.radius,
        low=low,
        high=high,
        certified=_certified(target, x, case.key),
    )
    failures, warnings = evasion.self_checks(evidence, truth, bounded=attack.bounded)
    if failures:
        raise evasion.SelfCheckFailed("; ".join(failures))
    facts = {
        "queries": float(np.mean(evidence.queries)),
        "gradients": float(np.mean(evidence.gradients)),
        "norm": attack.norm,
        "radius": attack.radius,
        "bounded": attack.bounded,
        "rejected": truth.rejected,
        "warnings": warnings,
    }
    if not world.dataset.is_image:
        facts["features"] = list(world.dataset.feature_names)
    arrays = evasion.exhibits(evidence, truth)
    shown, answers = arrays["shown"], (truth.called_clean[0], arrays["called"][0])
    arrays |= explained.evaded(target, arrays["before"], arrays["after"][0], (answers[0][shown], answers[1][shown]))
    return Judgement(evasion.measure(evidence, truth), facts, {**arrays, "null": _null(evidence, truth)})


def estimates(
    per_target: Mapping[str, np.ndarray], facts: Mapping[str, Any], seeds: np.ndarray | None
) -> dict[str, Estimate]:
    """The Estimates."""
    del facts
    return evasion.estimates(per_target, seeds)


def _null(evidence: Perturbed, truth: EvasionTruth) -> np.ndarray:
    """Which points the better null has: the clean records or random changes of them, share of draws [T, N]."""
    clean = np.asarray(wins(truth.called_clean, evidence, truth.rejected), np.float32)
    noise = np.asarray(wins(truth.called_noise, evidence, truth.rejected), np.float32).mean(axis=0)
    return np.where((clean.mean(axis=1) >= noise.mean(axis=1))[:, None], clean, noise)


def _called(target: Target, x: np.ndarray, asked: Sequence[jax.Array | None]) -> np.ndarray:
    """Labels int32 [D, T, N], one draw for each key."""
    count = x.shape[-len(target.model.shape) - 1]
    each = (None if key is None else jax.random.split(key, count) for key in asked)
    return np.stack([labels(target, x, drawn) for drawn in each])


def _noise(clean: np.ndarray, space: Space, norm: Norm, radius: float, key: jax.Array) -> np.ndarray:
    """A random valid record for each clean one, as far away as the radius and the box allow."""
    x = jnp.asarray(clean)
    if norm == "linf":
        towards = jax.random.rademacher(key, x.shape, jnp.float32)
    else:
        towards = jax.random.normal(key, x.shape)
        towards /= jnp.linalg.norm(towards.reshape(len(x), -1), axis=1).reshape(-1, *[1] * (x.ndim - 1))
    return np.asarray(space.valid(space.within(x + radius * towards, x, radius, norm), x))


def _certified(target: Target, x: np.ndarray, key: jax.Array) -> tuple[np.ndarray, np.ndarray] | None:
    """Labels [T, N] and proven L2 radii [T, N], where the model proves any."""
    certify = target.model.certify
    if certify is None:
        return None
    proven = [
        certify(target[t]._params, jnp.asarray(x), keys.derive(key, "certify", t)) for t in range(target.size or 0)
    ]
    return np.stack([np.asarray(called) for called, _ in proven]), np.stack([np.asarray(far) for _, far in proven])
