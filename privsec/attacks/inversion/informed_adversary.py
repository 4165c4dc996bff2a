"""Which of a few records completed a training set that is otherwise known: what an observer of every step can tell.

References:
    Balle, Cherubin & Hayes 2022, "Reconstructing training data with informed adversaries", arXiv 2201.04845.
    Hayes, Mahloujifar & Balle 2023, "Bounding training data reconstruction in DP-SGD", arXiv 2302.07225.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from pydantic import Field

from privsec.core import axis
from privsec.core.access import Access
from privsec.core.attack import Attack, Family, Knowledge, Part, Updates
from privsec.core.data import Examples
from privsec.core.errors import NotApplicable
from privsec.core.evidence import Reconstructions
from privsec.core.recipe import Batch, Params
from privsec.core.target import Target, compiled
from privsec.ops.clip import clipped_sum
from privsec.training.gradients import cross_entropy


class InformedAdversary(Attack):
    """The one record of a training set that the attacker does not know, picked from a prior of K by watching the steps.

    `argmax_k sum_s <g_k(theta_s) / |g_k(theta_s)|, seen_s - known_s>`: the candidate whose gradient points most to
    where each noisy gradient goes beyond that of the known records. A guess succeeds with probability 1 / K, and under
    differential privacy no attack does better than a bound that stands beside it. `trials` trainings are run for the
    attack, under the same defenses as all others, each on the known records and one of the K.

    References: Hayes, Mahloujifar & Balle 2023, arXiv 2302.07225; Balle, Cherubin & Hayes 2022, arXiv 2201.04845.
    """

    name: Literal["informed_adversary"] = "informed_adversary"
    family: ClassVar[Family] = "inversion"
    needs: ClassVar[Access] = Access.WEIGHTS | Access.UPDATES
    requires: ClassVar[frozenset[Part]] = frozenset({"updates", "candidates"})
    paper: ClassVar[str] = "Hayes, Mahloujifar & Balle 2023, arXiv 2302.07225"

    prior: int = Field(default=10, ge=2)
    """K, the equally likely records of the prior: candidates at even distances in their order."""
    trials: int = Field(default=64, ge=1)
    """Trainings that are watched, each on a record of the prior drawn anew."""
    steps: int = Field(default=50, ge=1)
    """Steps that are watched, the first of each training; all where it has fewer."""

    @property
    def assumptions(self) -> dict[str, Any]:
        """What the attacker is taken to know and see; every number depends on it."""
        return {
            "records known": "all but one, and which of them each step draws",
            "prior": f"{self.prior} records, equally likely",
            "seen": f"the gradient and the parameters of each of the first {self.steps} steps",
        }

    def rows(self, candidates: int) -> np.ndarray:
        """Which of so many candidates are the prior, int [K]."""
        return np.arange(self.prior) * candidates // self.prior

    def run(self, target: Target, knowledge: Knowledge, key: jax.Array) -> Reconstructions:
        """Picks a record for each watched training.

        Args:
            target: gives the architecture.
            knowledge: candidates, among which the prior is, and updates with leaves [T, S, ...]: of each of T trainings
                the S gradients, less what the known records account for, and the parameters before each step.
            key: unused; nothing is drawn.

        Returns:
            One record for each training; `confidence` is the mean cosine of its gradient with what was seen.

        Raises:
            AccessError: the target grants less than `needs`.
            NotApplicable: no training was watched, or there are fewer candidates than the prior has records.
        """
        del key
        model = target.restrict(self.needs).model
        updates, prior = self._given(knowledge)
        if not target.traceable:
            raise NotApplicable(f"{self.title} takes gradients by the parameters, which a model written in JAX has")

        def scored(t: int) -> tuple:
            seen, at = (jax.tree.map(lambda leaf: jnp.asarray(leaf[t]), part) for part in updates[:2])
            one = Target.of(model, jax.tree.map(lambda leaf: leaf[0], at))
            return jax.device_get(agreement(one, seen, at, prior))

        found = dict(axis.over_models(scored, range(len(jax.tree.leaves(updates.gradients)[0]))))
        scores, lengths = (np.stack(part) for part in zip(*(found[t] for t in sorted(found)), strict=True))
        best = np.argmax(scores, axis=1)[:, None]
        return Reconstructions(
            x=np.asarray(prior.x)[best],
            y=np.asarray(prior.y)[best],
            confidence=np.take_along_axis(scores, best, axis=1) / np.maximum(lengths, 1e-12)[:, None],
            queries=float(self.prior * len(jax.tree.leaves(updates.gradients)[0][0])),
        )

    def _given(self, knowledge: Knowledge) -> tuple[Updates, Examples]:
        updates, candidates = knowledge.updates, knowledge.candidates
        if updates is None or candidates is None:
            raise NotApplicable(
                f"{self.title} needs the steps of trainings on one record of a prior and that prior: give "
                "Knowledge(updates=Updates(gradients, start, batch), candidates=Examples(...))"
            )
        if candidates.size < self.prior:
            raise NotApplicable(f"a prior of {self.prior} records cannot be drawn from {candidates.size} candidates")
        return updates, candidates.take(self.rows(candidates.size))


@compiled
def agreement(
    target: Target, seen: Params, at: Params, records: Examples
) -> tuple[Float[jax.Array, " K"], Float[jax.Array, ""]]:
    """How far each record's gradients, brought to length 1, go along what was seen at S steps, summed.

    Args:
        target: gives the architecture.
        seen: leaves [S, ...].
        at: leaves [S, ...]: the parameters at each step.
        records: K of them.

    Returns:
        The sums [K], and the sum of the lengths of what was seen, which none exceeds.
    """
    model, x, y = target.model, jnp.asarray(records.x), jax.nn.one_hot(records.y, target.model.num_classes)
    batch = Batch(x, y, jnp.ones(len(y)))

    def add(total: tuple, step: tuple[Params, Params]) -> tuple[tuple, None]:
        towards, params = step
        # One forward pass along what was seen gives the inner products with all records' gradients.
        along = jax.jvp(lambda p: cross_entropy(model.apply(p, x), y), (params,), (towards,))[1]
        norms = clipped_sum(model, cross_entropy, params, batch, jnp.inf)[1]
        length = jnp.sqrt(sum(jnp.vdot(leaf, leaf) for leaf in jax.tree.leaves(towards)))
        return (total[0] + along / jnp.maximum(norms, 1e-12), total[1] + length), None

    return jax.lax.scan(add, (jnp.zeros(len(y)), jnp.zeros(())), (seen, at))[0]
