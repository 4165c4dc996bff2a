"""Records rebuilt from observed gradients, held against the records of those batches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import jax
import jax.numpy as jnp
import numpy as np

from privsec.attacks.inversion.informed_adversary import InformedAdversary
from privsec.core import keys
from privsec.core.attack import Updates
from privsec.core.estimate import Estimate
from privsec.core.evidence import Reconstructions
from privsec.measures import gradient_inversion
from privsec.runner.case import Case, Judgement
from privsec.runner.judging import informed
from privsec.runner.observed import batches

if TYPE_CHECKING:
    from privsec.attacks.inversion.gradient_inversion import GradientInversion

PUBLIC = 500
"""How many public records, at most, are compared with each rebuilt one."""


def judged(evidence: Reconstructions, case: Case) -> Judgement:
    """The measures of gradient inversion; the control is the same search on noise of the gradient's size."""
    if isinstance(case.attack, InformedAdversary):
        return informed.judged(evidence, case)
    attack, world, seen = cast("GradientInversion", case.attack), case.world, case.knowledge.updates
    assert seen is not None  # the attack requires it
    rows = batches(attack, world)
    noise = replace(case.knowledge, updates=_noise(seen, keys.derive(case.key, "control")))
    low, high = world.box
    truth = gradient_inversion.GradientTruth(
        x=np.asarray(world.candidates.x)[rows.reshape(-1)],
        y=np.asarray(world.candidates.y)[rows.reshape(-1)],
        batch=rows.shape[1],
        public=np.asarray(world.public_sample.x)[:PUBLIC],
        width=np.asarray(high - low),
        control=np.asarray(cast(Reconstructions, case.attacked(case.target, noise)).x),
    )
    facts = {"queries": float(evidence.queries), "assumptions": attack.assumptions}
    return Judgement(gradient_inversion.measure(evidence, truth), facts, gradient_inversion.exhibits(evidence, truth))


def estimates(
    per_target: Mapping[str, np.ndarray], facts: Mapping[str, Any], seeds: np.ndarray | None
) -> dict[str, Estimate]:
    """The Estimates."""
    if informed.BOUND in per_target:
        return informed.estimates(per_target)
    return gradient_inversion.estimates(per_target, seeds)


def _noise(seen: Updates, key: jax.Array) -> Updates:
    """Gradients of independent normal numbers, each as long as the one observed."""
    leaves, structure = jax.tree.flatten(seen.gradients)
    drawn = [jax.random.normal(jax.random.fold_in(key, i), leaf.shape) for i, leaf in enumerate(leaves)]

    def length(parts: list[jax.Array]) -> jax.Array:
        squares = [jnp.sum(jnp.square(part.reshape(*part.shape[:2], -1)), axis=-1) for part in parts]
        return jnp.sqrt(jnp.sum(jnp.stack(squares), axis=0))

    scale = length(leaves) / length(drawn)
    scaled = [part * scale.reshape(*scale.shape, *[1] * (part.ndim - 2)) for part in drawn]
    return seen._replace(gradients=jax.tree.unflatten(structure, scaled))
