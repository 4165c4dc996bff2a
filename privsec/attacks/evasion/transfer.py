"""Changes worked out on a model of the attacker's own.

References:
    Papernot, McDaniel & Goodfellow 2016, "Transferability in machine learning", arXiv 1605.07277.
    Liu et al. 2017, "Delving into transferable adversarial examples and black-box attacks", arXiv 1611.02770.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from pydantic import Field

from privsec.attacks.evasion.base import Evasion, Found, Points, over_chunks
from privsec.attacks.evasion.best import offer, untouched
from privsec.attacks.evasion.gradients import loss_and_gradient, point_loss, step_keys
from privsec.attacks.evasion.mi_fgsm import momentum
from privsec.core.access import Access
from privsec.core.attack import Knowledge, Part
from privsec.core.errors import NotApplicable
from privsec.core.keys import derive
from privsec.core.target import Target
from privsec.nets import NETS
from privsec.nets.base import model_of
from privsec.ops.space import Space
from privsec.training.loop import train
from privsec.training.standard import Training

if TYPE_CHECKING:
    from privsec.nets.base import Net as AnyNet
else:
    AnyNet = NETS.union


class Transfer(Evasion):
    """Breaks a model of its own, trained on the attacker's records, and shows the target the result: one question each.

    `x' = argmax loss(surrogate(x'))` in the ball, by gradient steps with (`decay` 1) or without (0) a memory, all of
    them taken; the surrogate is an independent model that never saw an answer of the target.

    References: Papernot et al. 2016, arXiv 1605.07277; Liu et al. 2017, arXiv 1611.02770.
    """

    name: Literal["transfer"] = "transfer"
    net: AnyNet = Field(default_factory=lambda: NETS.parse({"name": "mlp"}))
    """Architecture of the surrogate."""
    training: Training = Training()
    """How the surrogate is trained; a batch is never larger than the attacker's records."""
    steps: int = Field(default=10, ge=1)
    """Gradient steps on the surrogate."""
    decay: float = Field(default=1.0, ge=0, le=1)
    """Share of the memory of gradients that is kept at each step: 1 for MI-FGSM, whose steps carry over better, 0 for
    PGD."""

    needs: ClassVar[Access] = Access.LABELS
    requires: ClassVar[frozenset[Part]] = frozenset({"points", "population"})
    paper: ClassVar[str] = "Papernot, McDaniel & Goodfellow 2016, arXiv 1605.07277"

    def prepared(
        self, target: Target, knowledge: Knowledge, points: Points, space: Space, key: jax.Array
    ) -> tuple[jax.Array, ...]:
        """Where the surrogate errs, or as near to it as the steps lead, [N, ...]."""
        surrogate = self.surrogate(target.model.shape, knowledge, derive(key, "surrogate"))
        return (jnp.asarray(over_chunks(self, surrogate, points, space).x),)

    def surrogate(self, shape: tuple[int, ...], knowledge: Knowledge, key: jax.Array) -> Target:
        """A model of records of `shape`, trained on the attacker's population.

        Raises:
            NotApplicable: there is no population.
        """
        records = knowledge.population
        if records is None or not records.size:
            raise NotApplicable(
                f"{self.title} trains a model of its own and was given no records for it: give "
                "Knowledge(population=Examples(...)), or attack the target itself."
            )
        batch_size = min(self.training.batch_size, records.size)
        recipe = self.training.model_copy(update={"batch_size": batch_size}).recipe(records.size)
        model = model_of(self.net, shape, knowledge.num_classes)
        return Target.of(model, train(model, recipe, records, np.ones(records.size, bool), key).params)

    def perturb(self, target: Target, points: Points, space: Space, *given: jax.Array) -> Found:
        """Given nothing, the changed records of a surrogate; given these, what the target says to them."""
        if not given:
            return Found(self._moved(target, points, space), *jnp.zeros((2, len(points.y))))
        norm, radius = self.norm, self.radius
        best = untouched(self, target, points, space)
        left = ~best.settled
        return offer(best, target, points, space, given[0], step_keys(points, 1), norm, radius=radius, active=left)[
            0
        ].found

    def _moved(self, surrogate: Target, points: Points, space: Space) -> jax.Array:
        rule, loss = momentum(self, self.radius / self.steps, self.decay), point_loss("ce")

        def step(_: int | jax.Array, state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            x, memory = state
            _, gradient = loss_and_gradient(surrogate, x, points, loss)
            change, memory = rule(gradient, memory)
            return space.within(x + change, points.x, self.radius, self.norm), memory

        x, _ = jax.lax.fori_loop(0, self.steps, step, (points.x, jnp.zeros_like(points.x)))
        return x
