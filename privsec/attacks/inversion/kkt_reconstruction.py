"""Training records read from a trained network's weights alone.

References:
    Haim, Vardi, Yehudai, Shamir & Irani 2022, "Reconstructing training data from trained neural networks", arXiv
    2206.07758.
    Buzaglo et al. 2023, "Deconstructing data reconstruction: multiclass, weight decay and general losses", arXiv
    2307.01827.
"""

from __future__ import annotations

from typing import ClassVar, Literal, NamedTuple, cast

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Float, Int
from pydantic import Field

from privsec.attacks.inversion.class_inversion import ClassInversion, box_of
from privsec.core.access import Access
from privsec.core.attack import Knowledge, Part
from privsec.core.errors import NotApplicable
from privsec.core.evidence import Reconstructions
from privsec.core.recipe import Model, Params
from privsec.core.target import Target
from privsec.ops.ascend import Box, project_box

TINY = 1e-30
"""Keeps a ratio finite where nothing depends on the parameters."""


class KKTReconstruction(ClassInversion):
    """Records of which a network's weights are the weighted sum of gradients, as those of a max-margin solution are.

    `min_{x, l} |theta - sum_i sum_{c != y_i} l_ic grad_theta (z_{y_i} - z_c)(x_i)|^2 / |theta|^2`, l_ic >= floor > 0, x
    in the data's box; of each class's candidates the one with the largest sum of l is returned.

    The weights are such a sum, with the training records in the place of x, in two cases: a homogeneous network (ReLU,
    no normalization) after long training by full-batch gradient descent from a small start, which ends near a KKT point
    of the max-margin problem; and any network at a minimum of cross-entropy plus weight decay, where l_ic is p_c(x_i) /
    (N * strength) (with ReLU nearly so: units at rest at a kink have no slope there). Elsewhere they are not, and that
    the attack finds nothing does not show that nothing leaks.
    Where they are, other records may have the same sum: reconstructions are not unique without a prior (arXiv
    2509.21296), and only the comparison with held-out records says whether these are training records.

    Beside the papers: a record has a multiplier for every rival class rather than for the strongest alone, as the
    max-margin problem of several classes has; bounds are kept by projection rather than by penalties, l moves by
    factors, and the slope of a ReLU is not smoothed.

    References: Haim et al. 2022, arXiv 2206.07758; Buzaglo et al. 2023, arXiv 2307.01827.
    """

    name: Literal["kkt_reconstruction"] = "kkt_reconstruction"
    needs: ClassVar[Access] = Access.WEIGHTS
    requires: ClassVar[frozenset[Part]] = frozenset()
    paper: ClassVar[str] = "Haim et al. 2022, arXiv 2206.07758"
    traceable: ClassVar[bool] = True

    per_class: int = Field(default=4, ge=1)
    """Candidates for each class, about as many as the class has records that the weights are made of."""
    steps: int = Field(default=2000, ge=1)
    """Steps (Adam), whose size falls to zero along a half cosine."""
    learning_rate: float = Field(default=0.01, gt=0)
    """Size of the first steps of x, as a share of the width of the data's box."""
    weight_rate: float = Field(default=0.03, gt=0)
    """Size of the first steps of log l."""
    least: float = Field(default=0.01, gt=0, le=1)
    """The smallest l, as a share of where all begin: equal, and such that both sides are equally long."""
    spread: float = Field(default=0.3, gt=0)
    """Standard deviation of the starts round the middle of the box, as a share of its width."""

    def run(self, target: Target, knowledge: Knowledge, key: jax.Array) -> Reconstructions:
        """Reconstructs a record of each class from the weights of each of the first `targets` models.

        Args:
            target: one model (then T' = 1) or a stack.
            knowledge: its box (or else a population to read one from) bounds the search.
            key: for the starts; one is derived for each target.

        Returns:
            x [T', K, ...features]; classes that are not reconstructed have candidates too, as all make up the weights.

        Raises:
            AccessError: the target grants less than `needs`.
            NotApplicable: there is no box, a class does not exist, or the parameters cannot be differentiated by.
        """
        stack = self.attacked(target)
        _check(self.title, stack.params)
        y, box = self.prompts(knowledge), box_of(knowledge, target.model.shape)
        classes = jnp.repeat(jnp.arange(knowledge.num_classes, dtype=jnp.int32), self.per_class)

        def reconstruct(given: tuple[Target, jax.Array]) -> tuple[jax.Array, jax.Array]:
            one, own_key = given
            found = self.candidates(one.adapted.model, one.params, classes, box, own_key)
            total = jnp.sum(found.multipliers, axis=1).reshape(-1, self.per_class)
            x = found.x[jnp.argmax(total, axis=1)[y] + self.per_class * y]
            return x, jnp.exp(one.log_scores(x)[jnp.arange(len(y)), y])

        keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, jnp.arange(stack.size or 0))
        x, confidence = jax.lax.map(reconstruct, (stack, keys))
        asked = len(classes) * self.steps / len(y) + 1  # at every step all candidates, and the result once
        return Reconstructions(x, y, confidence, jnp.float32(asked))

    def candidates(self, model: Model, params: Params, y: Int[jax.Array, " m"], box: Box, key: jax.Array) -> Candidates:
        """What the search from random starts ends at.

        Args:
            model: at least two classes.
            params: theta, of one model.
            y: the class of each candidate.
            box: smallest and largest value of each feature.
            key: for the starts.
        """
        middle, width = (box[0] + box[1]) / 2, box[1] - box[0]
        start = project_box(middle + self.spread * width * jax.random.normal(key, (len(y), *middle.shape)), box)
        rivals = 1.0 - jax.nn.one_hot(y, model.num_classes)
        sums = weighted_gradients(model, params, start, y, rivals)
        scale = jnp.sqrt(_square(params) / jnp.maximum(_square(sums), TINY))
        optimizer = optax.adam(optax.cosine_decay_schedule(1.0, self.steps))

        def cost(point: tuple[jax.Array, jax.Array]) -> jax.Array:
            x, log_l = point
            return stationarity(model, params, x, y, scale * rivals * jnp.exp(log_l))

        def step(
            _: jax.Array, state: tuple[tuple[jax.Array, jax.Array], optax.OptState]
        ) -> tuple[tuple[jax.Array, jax.Array], optax.OptState]:
            point, memory = state
            updates, memory = optimizer.update(jax.grad(cost)(point), memory)
            by_x, by_l = cast("tuple[jax.Array, jax.Array]", updates)
            x = project_box(point[0] + self.learning_rate * width * by_x, box)
            return (x, jnp.maximum(point[1] + self.weight_rate * by_l, jnp.log(self.least))), memory

        point = (start, jnp.zeros((len(y), model.num_classes)))
        (x, log_l), _ = jax.lax.fori_loop(0, self.steps, step, (point, optimizer.init(point)))
        return Candidates(x, scale * rivals * jnp.exp(log_l))


class Candidates(NamedTuple):
    """Records, and `multipliers` l >= 0 of each against every rival class, 0 for its own."""

    x: Float[jax.Array, " m *features"]
    multipliers: Float[jax.Array, "m C"]


def margins(logits: Float[jax.Array, "m C"], y: Int[jax.Array, " m"]) -> Float[jax.Array, "m C"]:
    """The logit of class y less each of the others, `z_y - z_c`; 0 for y itself.

    >>> margins(jnp.array([[3.0, 1.0, 2.0]]), jnp.array([0])).tolist()
    [[0.0, 2.0, 1.0]]
    """
    return jnp.take_along_axis(logits, y[:, None], axis=1) - logits


def weighted_gradients(
    model: Model,
    params: Params,
    x: Float[jax.Array, " m *features"],
    y: Int[jax.Array, " m"],
    multipliers: Float[jax.Array, "m C"],
) -> Params:
    """`sum_i sum_c l_ic grad_theta (z_{y_i} - z_c)(x_i)`, shaped like the parameters."""
    return jax.grad(lambda theta: jnp.vdot(multipliers, margins(model.apply(theta, x), y)))(params)


def stationarity(
    model: Model,
    params: Params,
    x: Float[jax.Array, " m *features"],
    y: Int[jax.Array, " m"],
    multipliers: Float[jax.Array, "m C"],
) -> Float[jax.Array, ""]:
    """How far the parameters are from a KKT point of the max-margin problem: 0 at one.

    `|theta - sum_i sum_c l_ic grad_theta (z_{y_i} - z_c)(x_i)|^2 / |theta|^2`.

    Args:
        model: at least two classes.
        params: theta, of one model.
        x: records.
        y: their classes.
        multipliers: l, >= 0; what stands in the column of a record's own class does not count.

    References: Haim et al. 2022, arXiv 2206.07758, equation 7; Buzaglo et al. 2023, arXiv 2307.01827.
    """
    sums = weighted_gradients(model, params, x, y, multipliers)
    return _square(jax.tree.map(jnp.subtract, params, sums)) / jnp.maximum(_square(params), TINY)


def _square(tree: Params) -> Float[jax.Array, ""]:
    return jnp.asarray(sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(tree)))


def _check(title: str, params: Params) -> None:
    leaves = jax.tree.leaves(params)
    if not leaves or not all(jnp.issubdtype(jnp.result_type(leaf), jnp.floating) for leaf in leaves):
        kinds = ", ".join(sorted({str(jnp.result_type(leaf)) for leaf in leaves})) or "nothing at all"
        raise NotApplicable(
            f"{title} differentiates by the parameters, and this model's are {kinds}. It takes a network whose "
            "parameters are all real numbers, such as an mlp or a cnn."
        )
