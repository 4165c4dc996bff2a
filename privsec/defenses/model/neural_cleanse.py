"""A class that a tiny change leads to from everywhere has a backdoor: the change is found, and trained away.

References: Wang et al. 2019, "Neural cleanse: identifying and mitigating backdoor attacks in neural networks", IEEE
S&P, doi 10.1109/SP.2019.00031.
"""

from __future__ import annotations

import functools
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Bool, Float, Float64
from pydantic import Field

from privsec.core import keys
from privsec.core.data import Array, Examples
from privsec.core.defense import ModelDefense
from privsec.core.recipe import Model, Params
from privsec.defenses.model.fine_pruning import bare_network
from privsec.ops.median_rule import anomaly_index, threshold
from privsec.training import loop
from privsec.training.gradients import cross_entropy
from privsec.training.standard import Training

ENOUGH = 0.99
"""Share of the records that a reversed trigger has to lead to its class."""
PATIENCE = 5
"""Steps in a row above or below it after which the price of the mask rises or falls."""
RISE, FALL = 1.5, 1.5**1.5
STAMPED = 0.2
"""Share of the records that get the trigger when it is trained away."""


class NeuralCleanse(ModelDefense):
    """Looks for the smallest trigger of each class; where one class's is far smaller than the others', unlearns it.

    For class t, over a mask m and a pattern d: `min CE(f((1 - m) x + m d), t) + c |m|_1` on the defender's records, by
    Adam. Far smaller is an index (median - l) / (1.4826 MAD) of l = log |m|_1 that the smallest of K normal numbers
    exceeds with probability `alarms` (3.8 for ten classes; the paper's 2 flags every third clean model). The paper has
    |m|_1 for l, of which no index exceeds median / (1.4826 MAD), however small a trigger: 2 for a small net on MNIST.
    The model is then trained further on the defender's records, a fifth of them with the trigger and all with their
    right labels. A model of which no class stands out is left as it is.

    What is unlearned is the smallest trigger: where a faint one is enough, a bright one may stay in force.

    References: Wang et al. 2019, doi 10.1109/SP.2019.00031.
    """

    name: Literal["neural_cleanse"] = "neural_cleanse"
    paper = "Wang et al. 2019, IEEE S&P, doi 10.1109/SP.2019.00031"

    alarms: float = Field(default=0.05, ge=0, lt=1)
    """Probability with which a clean model is flagged; 0 for no defense."""
    steps: int = Field(default=200, ge=1)
    """Of the search, for each class."""
    step_size: float = Field(default=0.1, gt=0, allow_inf_nan=False)
    """Of the search, by Adam."""
    records: int = Field(default=200, ge=1)
    """How many of the defender's records the search looks at."""
    epochs: int = Field(default=20, ge=1)
    """Passes over the defender's records that unlearn a trigger."""
    learning_rate: float = Field(default=3e-3, gt=0, allow_inf_nan=False)
    """Step size of these, by Adam."""
    batch_size: int = Field(default=50, ge=1)
    """Records of a step of these, or all there are where that is fewer."""

    def on_model(self, model: Model) -> Model:
        if self.alarms:
            bare_network(model, "neural_cleanse")
        return model

    def on_params(self, model: Model, params: Params, public: Examples, key: jax.Array) -> Params:
        if self.alarms == 0:
            return params
        found = self.reversed(model, params, public, key)
        return self.unlearned(model, params, public, found, key) if found.flagged.any() else params

    def reversed(self, model: Model, params: Params, public: Examples, key: jax.Array) -> Triggers:
        """The smallest trigger of each class, and which of them is too small."""
        rows = keys.generator(keys.derive(key, "records")).permutation(public.size)[: self.records]
        every, x = np.asarray(public.x, np.float32), jnp.asarray(public.x, jnp.float32)[np.sort(rows)]
        images = len(model.shape) == 3
        box = (np.zeros(()), np.ones(())) if images else (every.min(axis=0), every.max(axis=0))
        mask, pattern, reached = map(
            np.asarray, _search(model, self.steps, params, x, tuple(map(jnp.asarray, box)), self.step_size)
        )
        norm = mask.reshape(len(mask), -1).sum(axis=1, dtype=np.float64)
        return Triggers(mask, pattern, norm, reached, flagged(norm, self.alarms) & reached)

    def unlearned(self, model: Model, params: Params, public: Examples, found: Triggers, key: jax.Array) -> Params:
        """The parameters after further training on records of which some have a flagged class's trigger."""
        rng = keys.generator(keys.derive(key, "stamped"))
        x, y = np.array(public.x, np.float32), np.asarray(public.y)
        for row in rng.permutation(len(y))[: round(STAMPED * len(y))]:
            which = rng.choice(np.flatnonzero(found.flagged))
            x[row] = stamped(x[row], found.mask[which], found.pattern[which])
        training = Training(
            learning_rate=self.learning_rate, batch_size=min(self.batch_size, len(y)), epochs=self.epochs
        )
        recipe, data, own = training.recipe(len(y)), Examples(x, y), keys.derive(key, "training")
        return loop.train(model, recipe, data, np.ones(len(y), bool), own, start=params).params


class Triggers(NamedTuple):
    """What a search found for each of C classes.

    Attributes:
        mask: float32 [C, H, W, 1] for pictures, [C, ...] otherwise, in [0, 1].
        pattern: float32 [C, ...], in the records' box.
        norm: float64 [C], the sum of the mask.
        reached: bool [C], whether it leads `ENOUGH` of the records to the class.
        flagged: bool [C], whether the class is taken for a backdoor's goal.
    """

    mask: np.ndarray
    pattern: np.ndarray
    norm: np.ndarray
    reached: np.ndarray
    flagged: np.ndarray


def flagged(norm: Float64[np.ndarray, " C"], alarms: float) -> Bool[np.ndarray, " C"]:
    """Which norms are far below the median, by their logarithms and for so many; none of fewer than three.

    >>> flagged(np.array([60, 58, 63, 61, 59, 62, 64, 57, 10, 60.0]), 0.05).nonzero()[0].tolist()
    [8]
    """
    if len(norm) < 3:
        return np.zeros(len(norm), bool)
    size = np.log(np.maximum(norm, np.finfo(np.float64).tiny))
    return anomaly_index(size) > threshold(len(norm), alarms)


def stamped(x: Float[Array, "*B"], mask: Float[Array, "*M"], pattern: Float[Array, "*P"]) -> Array:
    """(1 - m) x + m d."""
    return (1 - mask) * x + mask * pattern


class _State(NamedTuple):
    free: tuple[jax.Array, jax.Array]
    optimizer: optax.OptState
    price: jax.Array
    above: jax.Array
    below: jax.Array
    best: tuple[jax.Array, jax.Array]
    norm: jax.Array


@functools.partial(jax.jit, static_argnums=(0, 1))
def _search(
    model: Model, steps: int, params: Params, x: jax.Array, box: tuple[jax.Array, jax.Array], step_size: float
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """For each class the mask, the pattern, and whether they lead there."""
    shape = (*model.shape[:2], 1) if len(model.shape) == 3 else model.shape
    adam = optax.scale_by_adam(b1=0.5, b2=0.9)

    def trigger(free: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        mask, pattern = ((jnp.tanh(part) + 1) / 2 for part in free)
        return mask, box[0] + (box[1] - box[0]) * pattern

    def of_class(label: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        goal = jnp.broadcast_to(jax.nn.one_hot(label, model.num_classes), (len(x), model.num_classes))

        def cost(free: tuple[jax.Array, jax.Array], price: jax.Array) -> tuple[jax.Array, tuple]:
            mask, pattern = trigger(free)
            logits = model.apply(params, jnp.asarray(stamped(x, mask, pattern)))
            led, norm = jnp.mean(jnp.argmax(logits, axis=-1) == label), jnp.sum(mask)
            return jnp.mean(cross_entropy(logits, goal)) + price * norm, (led, norm, (mask, pattern))

        def step(state: _State, _: None) -> tuple[_State, None]:
            slope, (led, norm, made) = jax.grad(cost, has_aux=True)(state.free, state.price)
            better = (led >= ENOUGH) & (norm < state.norm)
            best = jax.tree.map(lambda new, old: jnp.where(better, new, old), made, state.best)
            above = jnp.where(led >= ENOUGH, state.above + 1, 0)
            below = jnp.where(led >= ENOUGH, 0, state.below + 1)
            price = jnp.where(above >= PATIENCE, state.price * RISE, state.price)
            price = jnp.where(below >= PATIENCE, price / FALL, price)
            above, below = (jnp.where(count >= PATIENCE, 0, count) for count in (above, below))
            change, optimizer = adam.update(slope, state.optimizer)
            free = jax.tree.map(lambda part, by: part - step_size * by, state.free, change)
            norm = jnp.where(better, norm, state.norm)
            return _State(free, optimizer, price, above, below, best, norm), None

        free = (jnp.zeros(shape), jnp.zeros(model.shape))  # half of everything
        start, none = trigger(free), jnp.zeros((), jnp.int32)
        # A class that nothing leads to keeps the whole mask, the largest there is.
        start = (jnp.ones_like(start[0]), start[1])
        state = _State(free, adam.init(free), jnp.float32(1e-3), none, none, start, jnp.float32(jnp.inf))
        state, _ = jax.lax.scan(step, state, None, length=steps)
        return *state.best, jnp.isfinite(state.norm)

    return jax.lax.map(of_class, jnp.arange(model.num_classes))
