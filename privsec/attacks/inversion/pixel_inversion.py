"""Class inversion in input space: a start, priors, and a descent for each target."""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Float, Int
from pydantic import Field

from privsec.attacks.inversion.class_inversion import ClassInversion, box_of
from privsec.core.attack import Knowledge, Part
from privsec.core.data import Examples
from privsec.core.errors import NotApplicable
from privsec.core.evidence import Reconstructions
from privsec.core.target import Target
from privsec.ops import priors
from privsec.ops.ascend import Box, descend, project_box

Prior = Callable[[Float[jax.Array, " K *features"]], Float[jax.Array, " K"]]
"""x -> penalty."""
Evaluate = Callable[[jax.Array, jax.Array], tuple[Float[jax.Array, " K"], Float[jax.Array, " K *features"]]]
"""(x [K, ...features], key) -> (cost, gradient)."""

CHUNK = 512
"""Population records of one query while the start is chosen; bounds the memory."""
SMOOTHNESS = 0.3
"""Weight of total variation for images where none is given."""


class PixelInversion(ClassInversion):
    """Base: looks for the input that the model calls class y most surely.

    `cost(x) = misfit of class y at x + tv * TV(x) + l2 * mean(x^2)`, lowered by projected descent in the box of the
    data; the best point visited is the reconstruction.
    """

    requires: ClassVar[frozenset[Part]] = frozenset()
    traceable: ClassVar[bool] = True

    begin: Literal["mean", "record", "box"] = "mean"
    """The search begins at the mean of the attacker's population; or at its record of the class with the highest
    confidence (one query a record); or at the middle of the box, as always where there is no population."""
    steps: int = Field(default=300, ge=1)
    """The most steps a reconstruction may take."""
    learning_rate: float = Field(default=0.005, gt=0)
    """Size of a step, as a share of the width of the data's box."""
    optimizer: Literal["adam", "momentum", "sign"] = "adam"
    """How a gradient becomes a step: Adam, heavy ball with decay 0.9, or the sign of the heavy ball's memory."""
    tv: float | None = Field(default=None, ge=0)
    """Weight of total variation; where absent 0.3 for images, else 0."""
    l2: float = Field(default=0.0, ge=0)
    """Weight of the mean square of the input."""
    enough: float = 0.0
    """A reconstruction stops at a cost this low."""
    patience: int = Field(default=50, ge=1)
    """A reconstruction stops after this many steps without a lower cost."""

    def run(self, target: Target, knowledge: Knowledge, key: jax.Array) -> Reconstructions:
        """Reconstructs the classes from each of the first `targets` models.

        Args:
            target: one model (then T' = 1) or a stack.
            knowledge: its box (or else a population to read one from) bounds the search; its population, where there is
                one, gives the start.
            key: for the directions of queries; one is derived for each target.

        Raises:
            AccessError: the target grants less than `needs`.
            NotApplicable: there is no box, a class does not exist, or `tv` is asked of records that are not images.
        """
        stack = self.attacked(target)
        y, box = self.prompts(knowledge), box_of(knowledge, target.model.shape)
        weight = self._smoothness(target.model.shape)

        def prior(x: Float[jax.Array, " K *features"]) -> Float[jax.Array, " K"]:
            smooth = weight * priors.total_variation(x) if weight else 0.0
            return smooth + self.l2 * priors.mean_square(x)

        def invert(given: tuple[Target, jax.Array]) -> tuple[jax.Array, jax.Array, jax.Array]:
            one, own_key = given
            start, asked = self._start(one, knowledge.population, y, box)
            evaluate = self.evaluator(one, knowledge.population, y, box, prior)
            found = descend(evaluate, start, own_key, self._steps_of(box), self.steps, box, self.enough, self.patience)
            confidence = jnp.exp(one.log_scores(found.x)[jnp.arange(len(y)), y])
            return found.x, confidence, asked + 1 + self.queries_per_step * found.steps

        keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, jnp.arange(stack.size or 0))
        x, confidence, queries = jax.lax.map(invert, (stack, keys))
        return Reconstructions(x, y, confidence, jnp.mean(queries))  # type: ignore[arg-type]

    @property
    @abc.abstractmethod
    def queries_per_step(self) -> int:
        """Model queries of one evaluation of one prompt; a gradient counts as one."""

    @abc.abstractmethod
    def evaluator(self, target: Target, population: Examples | None, y: jax.Array, box: Box, prior: Prior) -> Evaluate:
        """What the descent follows."""

    def _start(
        self, target: Target, population: Examples | None, y: Int[jax.Array, " K"], box: Box
    ) -> tuple[Float[jax.Array, " K *features"], float]:
        """Where the search begins, and the queries a prompt spent on finding it."""
        if self.begin == "record" and population is not None:
            x, labels = jnp.asarray(population.x), jnp.asarray(population.y)
            scores = jax.lax.map(lambda record: target.scores(record[None])[0], x, batch_size=CHUNK)[:, y]
            # Scores are below 2: a record of the class wins wherever there is one, whatever the model says of others.
            surest = jnp.argmax(scores + 2.0 * (labels[:, None] == y), axis=0)
            return x[surest], len(labels) / len(y)
        if self.begin == "mean" and population is not None:
            point = project_box(jnp.mean(jnp.asarray(population.x), axis=0), box)
        else:
            point = (box[0] + box[1]) / 2
        return jnp.broadcast_to(point, (len(y), *box[0].shape)), 0.0

    def _smoothness(self, shape: tuple[int, ...]) -> float:
        is_image = len(shape) == 3 and min(shape[:2]) > 1
        if self.tv and not is_image:
            raise NotApplicable(
                f"{self.title} was given tv={self.tv:g}, but total variation compares neighboring pixels and these "
                f"records have the shape {shape}, not [height, width, channels]. Leave `tv` out or set it to 0."
            )
        return (SMOOTHNESS if is_image else 0.0) if self.tv is None else self.tv

    def _steps_of(self, box: Box) -> optax.GradientTransformation:
        direction = {
            "adam": optax.scale_by_adam(),
            "momentum": optax.trace(0.9),
            "sign": optax.chain(optax.trace(0.9), optax.scale_by_sign()),
        }[self.optimizer]
        width = box[1] - box[0]
        to_width = optax.stateless(lambda updates, _: -self.learning_rate * width * updates)  # type: ignore[operator]
        return optax.chain(direction, to_width)
