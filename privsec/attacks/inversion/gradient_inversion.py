"""Records of a training batch from the gradient it gave: what an observer of the training can see.

References:
    Geiping et al. 2020, "Inverting gradients - how easy is it to break privacy in federated learning?", arXiv
    2003.14053.
    Zhu, Liu & Han 2019, "Deep leakage from gradients", arXiv 1906.08935.
    Zhao, Mopuri & Bilen 2020, "iDLG: improved deep leakage from gradients", arXiv 2001.02610.
"""

from __future__ import annotations

import functools
from typing import Any, ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Float, Int
from pydantic import Field, model_validator

from privsec.attacks.inversion import observed_gradient as observed
from privsec.core import axis
from privsec.core.access import Access
from privsec.core.attack import Attack, Family, Knowledge, Part, Updates
from privsec.core.errors import NotApplicable
from privsec.core.evidence import Reconstructions
from privsec.core.recipe import Params
from privsec.core.target import Target, compiled
from privsec.ops import priors
from privsec.ops.ascend import Box, descend, project_box

SMOOTHNESS = 0.001
"""Weight of total variation for images where none is given."""
PUBLIC = 256
"""Records of the population over which the mean probability of each class is taken, at most."""


class Found(NamedTuple):
    """One batch: `x` [B, ...], `y` int32 [B], the cosine of its gradient with the one observed, gradients evaluated."""

    x: jax.Array
    y: jax.Array
    match: jax.Array
    spent: jax.Array


class GradientInversion(Attack):
    """The batch whose gradient is the one that was observed during the training.

    `invert_gradients`: min 1 - cos(grad(x), g) + tv * TV(x), by the signs of the gradient. `dlg`: min ||grad(x) -
    g||^2, by L-BFGS, for smooth networks. `analytic`: read off a dense first layer, exactly, for single records.

    References: Geiping et al. 2020, arXiv 2003.14053; Zhu et al. 2019, arXiv 1906.08935; Zhao et al. 2020, arXiv
    2001.02610 (labels).
    """

    name: Literal["gradient_inversion"] = "gradient_inversion"
    family: ClassVar[Family] = "inversion"
    needs: ClassVar[Access] = Access.WEIGHTS | Access.UPDATES
    requires: ClassVar[frozenset[Part]] = frozenset({"updates"})
    paper: ClassVar[str] = "Geiping et al. 2020, arXiv 2003.14053"

    method: Literal["invert_gradients", "dlg", "analytic"] = "invert_gradients"
    """What is minimized, and how."""
    labels: Literal["restored", "optimized"] = "restored"
    """Labels are read from the output layer's gradient; or `dlg` looks for soft ones along with the records."""
    batch: int = Field(default=1, ge=1)
    """Records behind one observed gradient."""
    batches: int = Field(default=4, ge=1)
    """How many gradients are observed of each model."""
    moment: Literal["start", "end"] = "start"
    """Whether the gradients were taken before the first step of the training or after the last one."""
    targets: int = Field(default=4, ge=1)
    """How many models of a stack are observed, the first ones."""
    steps: int = Field(default=1000, ge=1)
    """Steps of the search."""
    restarts: int = Field(default=1, ge=1)
    """Searches from different random starts, of which the best match is kept."""
    learning_rate: float = Field(default=0.1, gt=0)
    """First step size of `invert_gradients`, as a share of the width of the data's box; a tenth of it after 3/8, 5/8
    and 7/8 of the steps."""
    tv: float | None = Field(default=None, ge=0)
    """Weight of total variation in `invert_gradients`; where absent 0.001 for images, else 0."""

    @model_validator(mode="after")
    def _only_dlg_optimizes_labels(self) -> GradientInversion:
        if self.labels == "optimized" and self.method != "dlg":
            raise ValueError(f"labels: optimized goes with method: dlg; {self.method} takes restored ones")
        return self

    @property
    def assumptions(self) -> dict[str, Any]:
        """What the attacker is taken to know and see; every number depends on it."""
        return {
            "batch size (known)": self.batch,
            "labels": self.labels,
            "parameters (known)": "at initialization" if self.moment == "start" else "after the training",
            "local steps before a gradient is seen": 0,
            "batch statistics": "none: the networks have no batch normalization",
        }

    def run(self, target: Target, knowledge: Knowledge, key: jax.Array) -> Reconstructions:
        """Reconstructs every observed batch of each of the first `targets` models.

        Args:
            target: gives the architecture.
            knowledge: the updates; the box (or else the range of the population) bounds the search; the population,
                where there is one, tells the model's mean answer.
            key: for the starts; each batch gets a key derived from it.

        Returns:
            S * B records for each target, batch after batch, those of a batch in no order; `y` [T, S * B];
            `confidence` is the cosine between the reconstruction's gradient and the one observed.

        Raises:
            AccessError: the target grants less than `needs`.
            NotApplicable: there are no updates or no box, or the method does not go with the architecture or the batch.
        """
        model = target.restrict(self.needs).model
        updates, box = self._given(knowledge), _box(knowledge, model.shape)
        observers, batches = jax.tree.leaves(updates.gradients)[0].shape[:2]
        observers = min(observers, self.targets)
        if not target.traceable:
            raise NotApplicable(f"{self.title} differentiates a gradient, which takes a model written in JAX")
        public = None if knowledge.population is None else jnp.asarray(knowledge.population.x)[:PUBLIC]

        def invert(i: int) -> Found:
            t, s = divmod(i, batches)
            start = jax.tree.map(lambda leaf: jnp.asarray(leaf[t]), updates.start)
            gradient = jax.tree.map(lambda leaf: jnp.asarray(leaf[t, s]), updates.gradients)
            one, own = Target.of(model, start), jax.random.fold_in(key, i)
            seen = _noise(own, (PUBLIC,), box) if public is None else public
            y = self._labels(one, gradient, updates.batch, seen)
            if self.method == "analytic":
                x = project_box(_read(one, gradient), box)
                return Found(x, y, _match(one, gradient, x, y), jnp.ones(()))
            return jax.device_get(_searched(one, self, gradient, y, box, own))

        found = dict(axis.over_models(invert, range(observers * batches)))
        x, y, match, spent = (np.stack(part) for part in zip(*(found[i] for i in sorted(found)), strict=True))
        count = batches * updates.batch
        return Reconstructions(
            x=x.reshape(observers, count, *model.shape),
            y=y.reshape(observers, count),
            confidence=np.repeat(match, updates.batch).reshape(observers, count),
            queries=float(spent.mean()),
        )

    def _given(self, knowledge: Knowledge) -> Updates:
        updates = knowledge.updates
        if updates is None:
            raise NotApplicable(
                f"{self.title} inverts gradients seen during the training and was given none: give "
                "Knowledge(updates=Updates(gradients, start, batch))"
            )
        if self.method == "analytic" and updates.batch > 1:
            raise NotApplicable(
                f"a dense layer's gradient over {updates.batch} records shows mixtures of them: write batch: 1, or "
                "method: invert_gradients"
            )
        return updates

    def _labels(self, target: Target, gradient: Params, batch: int, public: jax.Array) -> Int[jax.Array, " B"]:
        """The restored labels; zeros where labels are optimized."""
        if self.labels == "optimized":
            return jnp.zeros(batch, jnp.int32)
        bias = observed.weights_of(gradient, observed.output_layer(target.model))["bias"]
        believed = jnp.mean(target.scores(public), axis=0) if batch > 1 else None
        return jnp.asarray(observed.restored_labels(bias, batch, believed))

    def smoothness(self, shape: tuple[int, ...]) -> float:
        """The weight of total variation for records of `shape`."""
        is_image = len(shape) == 3 and min(shape[:2]) > 1
        return (SMOOTHNESS if self.tv is None else self.tv) if is_image else 0.0


def _box(knowledge: Knowledge, shape: tuple[int, ...]) -> Box:
    """The data's box for one record: the known one, or the range of the population."""
    if knowledge.box is not None:
        ends = knowledge.box
    elif knowledge.population is not None:
        ends = knowledge.population.x.min(axis=0), knowledge.population.x.max(axis=0)
    else:
        raise NotApplicable(
            "gradient inversion searches inside the data's box, and this knowledge has neither `box` nor a "
            "`population` to read one from. Give Knowledge(box=(low, high)): the ends of each feature's range."
        )
    low, high = (jnp.broadcast_to(jnp.asarray(end, jnp.float32), shape) for end in ends)
    return low, high


def _noise(key: jax.Array, count: tuple[int, ...], box: Box) -> Float[jax.Array, " *features"]:
    return box[0] + (box[1] - box[0]) * jax.random.uniform(key, (*count, *box[0].shape))


def _read(target: Target, gradient: Params) -> Float[jax.Array, " 1 *features"]:
    layer = observed.weights_of(gradient, observed.input_layer(target.model))
    return observed.dense_input(layer["kernel"], layer["bias"]).reshape(1, *target.model.shape)


@compiled
def _match(target: Target, gradient: Params, x: jax.Array, y: jax.Array) -> jax.Array:
    one_hot = jax.nn.one_hot(y, target.model.num_classes)
    return observed.cosine(observed.gradient_at(target.model, target.params, x, one_hot), gradient)


@functools.partial(compiled, static=("attack",))
def _searched(
    target: Target, attack: GradientInversion, gradient: Params, y: jax.Array, box: Box, key: jax.Array
) -> Found:
    """The best of the attack's searches for one batch."""
    start = _noise(key, (attack.restarts, len(y)), box)
    search = _by_signs if attack.method == "invert_gradients" else _by_newton
    x, labels, cost, spent = search(target, attack, gradient, y, box, start)
    best = jnp.argmin(cost)
    match = _match(target, gradient, x[best], labels[best])
    return Found(x[best], labels[best].astype(jnp.int32), match, spent)


def _by_signs(
    target: Target,
    attack: GradientInversion,
    gradient: Params,
    y: Int[jax.Array, " B"],
    box: Box,
    start: Float[jax.Array, " R B *features"],
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Adam on the signs of the gradient of `1 - cosine + tv * TV`, R searches side by side: x, labels, cost, spent."""
    one_hot, tv = jax.nn.one_hot(y, target.model.num_classes), attack.smoothness(target.model.shape)

    def cost(x: jax.Array) -> jax.Array:
        misfit = 1 - observed.cosine(observed.gradient_at(target.model, target.params, x, one_hot), gradient)
        return misfit + (tv * jnp.mean(priors.total_variation(x)) if tv else 0.0)

    def evaluate(x: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        del key
        return jax.vmap(jax.value_and_grad(cost))(x)

    decay = {round(share * attack.steps): 0.1 for share in (3 / 8, 5 / 8, 7 / 8)}
    steps = optax.chain(
        optax.scale_by_sign(),
        optax.scale_by_adam(),
        optax.scale_by_schedule(optax.piecewise_constant_schedule(-attack.learning_rate, decay)),
        optax.stateless(lambda updates, _: (box[1] - box[0]) * updates),  # type: ignore[operator]
    )
    found = descend(evaluate, start, jax.random.key(0), steps, attack.steps, box)
    return found.x, jnp.broadcast_to(y, (len(start), len(y))), found.cost, jnp.sum(found.steps).astype(jnp.float32)


def _by_newton(
    target: Target,
    attack: GradientInversion,
    gradient: Params,
    y: Int[jax.Array, " B"],
    box: Box,
    start: Float[jax.Array, " R B *features"],
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """L-BFGS on the squared distance of the gradients, one search after the other: x, labels, cost, spent.

    Nothing keeps the search inside the box; its best point is moved there.
    """
    classes = target.model.num_classes
    soft = attack.labels == "optimized"

    def cost(point: tuple[jax.Array, jax.Array]) -> jax.Array:
        x, logits = point
        labels = jax.nn.softmax(logits) if soft else jax.nn.one_hot(y, classes)
        return observed.distance(observed.gradient_at(target.model, target.params, x, labels), gradient)

    solver = optax.lbfgs()
    value_and_grad = optax.value_and_grad_from_state(cost)

    def step(_: jax.Array, state: tuple) -> tuple:
        point, memory, best, lowest = state
        value, slope = value_and_grad(point, state=memory)
        better = value < lowest
        best = jax.tree.map(lambda new, old: jnp.where(better, new, old), point, best)
        update, memory = solver.update(slope, memory, point, value=value, grad=slope, value_fn=cost)
        return optax.apply_updates(point, update), memory, best, jnp.where(better, value, lowest)

    def search(x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        point = x, jnp.zeros((len(y), classes))
        _, _, best, lowest = jax.lax.fori_loop(0, attack.steps, step, (point, solver.init(point), point, jnp.inf))
        return project_box(best[0], box), jnp.argmax(best[1], axis=-1) if soft else y, lowest

    x, labels, lowest = jax.lax.map(search, start)
    return x, labels, lowest, jnp.asarray(float(len(start) * attack.steps))
