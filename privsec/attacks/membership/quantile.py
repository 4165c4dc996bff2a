"""Quantile regression: is the target surer of this record than of records like it that it never saw?

No reference model is trained. A small network learns, from the attacker's own records, how sure the target is of a
record that it was not trained on, given the record and its label; what exceeds that is evidence of membership.

References:
    Bertran et al. 2023, "Scalable membership inference attacks via quantile regression", arXiv 2307.03694.
"""

from __future__ import annotations

import functools
from typing import ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Float, Float64, Int
from pydantic import Field

from privsec.attacks.membership import shadows
from privsec.core import axis, keys
from privsec.core.access import Access
from privsec.core.attack import Attack, Family, Knowledge, Part
from privsec.core.data import Array
from privsec.core.errors import NotApplicable
from privsec.core.evidence import MembershipScores
from privsec.core.target import Target
from privsec.ops.leave_out import chunks

FEWEST = 100
"""Population records below which nothing about records of one kind can be learnt."""
CHECK, CALIBRATION = 0.15, 0.15
"""Shares of the population that decide when to stop, and that the scores are measured by."""
FEATURES = 128
"""Records of more numbers are projected at random to this many."""
BATCH = 256
PACE = 5
"""Steps between looks at the records that decide when to stop: a look costs more than a step."""
LOG_SPREAD = 5.0
"""The log of the predicted deviation stays within this of that of all records."""


class Quantile(Attack):
    """A normal distribution of the score gap for each record; its quantile at every level is one threshold a record."""

    name: Literal["quantile"] = "quantile"
    hidden: int = Field(default=64, ge=1)
    """Width of the network's hidden layer."""
    steps: int = Field(default=300, ge=1)
    """Optimizer steps, at most; the network that predicts records it did not learn from best is kept."""
    learning_rate: float = Field(default=3e-3, gt=0, allow_inf_nan=False)
    """Step size of Adam."""

    family: ClassVar[Family] = "membership"
    needs: ClassVar[Access] = Access.SCORES
    requires: ClassVar[frozenset[Part]] = frozenset({"candidates", "population"})
    paper: ClassVar[str] = "Bertran et al. 2023, arXiv 2307.03694"

    def run(self, target: Target, knowledge: Knowledge, key: jax.Array) -> MembershipScores:
        candidates, population = shadows.candidates_of(knowledge), shadows.population_of(knowledge)
        if population.size < FEWEST:
            raise NotApplicable(
                f"the attacker's population of {population.size} records is too small to learn from how sure the "
                f"target is of which record: {FEWEST} are needed; keep back more, or use attack_p"
            )
        gap, known = target.observe(candidates, "score_gap"), target.observe(population, "score_gap")
        order = keys.generator(key).permutation(population.size)
        check, calibration = (max(int(share * len(order)), 1) for share in (CHECK, CALIBRATION))
        parts = np.split(order, [check, check + calibration])
        encode = Encoder.of(np.asarray(population.x), knowledge.num_classes, keys.derive(key, "projection"))
        x, of_candidates = encode(population.x, population.y), encode(candidates.x, candidates.y)
        z, z_known = regress(self, x, known, of_candidates, gap, parts[2], parts[0], keys.derive(key, "network"))
        return MembershipScores(outdone_calibration(z, z_known[:, parts[1]]))


class Encoder(NamedTuple):
    """Records as features: flattened, scaled by the population's statistics, projected where long, and the label."""

    mean: Float[np.ndarray, " D"]
    deviation: Float[np.ndarray, " D"]
    projection: Float[np.ndarray, "D F"] | None
    num_classes: int

    @classmethod
    def of(cls, population: Float[np.ndarray, " Z *features"], num_classes: int, key: jax.Array) -> Encoder:
        """The encoder whose statistics are those of the population."""
        flat = population.reshape(len(population), -1)
        deviation, wide = flat.std(axis=0), flat.shape[1] > FEATURES
        shape = (flat.shape[1], FEATURES)
        projection = keys.generator(key).normal(size=shape).astype(np.float32) / np.sqrt(shape[0]) if wide else None
        return cls(flat.mean(axis=0), np.where(deviation > 0, deviation, 1), projection, num_classes)

    def __call__(self, x: Array, y: Array) -> Float[np.ndarray, "N F"]:
        """The features of records and their labels, float32."""
        labels = (np.asarray(y)[:, None] == np.arange(self.num_classes)).astype(np.float32)
        parts = []
        for rows in chunks(len(labels)):
            flat = (np.asarray(x[rows]).reshape(len(labels[rows]), -1) - self.mean) / self.deviation
            parts.append(flat if self.projection is None else flat @ self.projection)
        return np.concatenate([np.concatenate(parts).astype(np.float32), labels], axis=1)


def outdone_calibration(
    z: Float[np.ndarray, "T N"], calibration: Float[np.ndarray, "T K"]
) -> Float64[np.ndarray, "T N"]:
    """The share of calibration records with a lower z; equal shares in the order of z.

    The calibration records are non-members on which nothing was fitted, so whatever the regression is worth, a
    non-member's score exceeds 1 - alpha with a probability of alpha + 1 / (K + 1) at most (conformal prediction).

    Args:
        z: how many predicted deviations a candidate's gap is above its predicted mean.
        calibration: the same of K calibration records.
    """
    return shadows.break_ties(shadows.outdone(z, calibration), z.astype(np.float64), calibration.shape[1])


def regress(
    attack: Quantile,
    x: Float[np.ndarray, "Z F"],
    gap: Float[np.ndarray, "T Z"],
    candidates: Float[np.ndarray, "N F"],
    of_candidates: Float[np.ndarray, "T N"],
    fit: Int[np.ndarray, " A"],
    check: Int[np.ndarray, " B"],
    key: jax.Array,
) -> tuple[Float64[np.ndarray, "T N"], Float64[np.ndarray, "T Z"]]:
    """z = (gap - mean(x, y)) / deviation(x, y) of candidates and population, one network a target.

    The networks start as the mean and deviation of all records, where z orders records as the gap itself does.

    Args:
        attack: width, steps, step size.
        x: features of the population.
        gap: of the population on T targets.
        candidates: features of the candidates.
        of_candidates: their gap.
        fit: population records that are learnt from.
        check: population records that decide when to stop.
        key: the networks' first weights and batches.
    """
    center, scale = gap[:, fit].mean(axis=1, keepdims=True), np.maximum(gap[:, fit].std(axis=1, keepdims=True), 1e-6)
    known, asked = (gap - center) / scale, (of_candidates - center) / scale
    seeds, z, z_known = jax.random.split(key, len(gap)), np.empty(asked.shape), np.empty(known.shape)
    to_fit, to_check, to_judge, everything = (jnp.asarray(part) for part in (x[fit], x[check], candidates, x))

    def one(t: int) -> None:
        network = _train(attack, to_fit, known[t, fit], to_check, known[t, check], seeds[t])
        for into, features, values in ((z, to_judge, asked), (z_known, everything, known)):
            mean, log_deviation = (np.asarray(part, np.float64) for part in _predict(network, features))
            into[t] = (values[t] - mean) * np.exp(-log_deviation)

    axis.each_model(one, range(len(gap)))
    return z, z_known


class Network(NamedTuple):
    """One hidden layer; two outputs, mean and log-deviation."""

    inner: jax.Array
    inner_bias: jax.Array
    outer: jax.Array
    outer_bias: jax.Array


@jax.jit
def _predict(network: Network, x: Array) -> tuple[jax.Array, jax.Array]:
    outputs = jax.nn.relu(x @ network.inner + network.inner_bias) @ network.outer + network.outer_bias
    return outputs[:, 0], LOG_SPREAD * jnp.tanh(outputs[:, 1] / LOG_SPREAD)


def _loss(network: Network, x: jax.Array, gap: jax.Array) -> jax.Array:
    """The negative log-likelihood, less its constant."""
    mean, log_deviation = _predict(network, x)
    return jnp.mean(log_deviation + 0.5 * jnp.square((gap - mean) * jnp.exp(-log_deviation)))


@functools.partial(jax.jit, static_argnums=0)
def _train(
    attack: Quantile, x: jax.Array, gap: jax.Array, x_check: jax.Array, check: jax.Array, key: jax.Array
) -> Network:
    """The network of one target that predicts the records of `check` best."""
    optimizer = optax.adam(attack.learning_rate)
    first, batches = jax.random.split(key)
    inner = jax.random.normal(first, (x.shape[1], attack.hidden)) * np.sqrt(2 / x.shape[1])
    network = Network(inner, jnp.zeros(attack.hidden), jnp.zeros((attack.hidden, 2)), jnp.zeros(2))
    drawn = jax.random.randint(batches, (attack.steps, min(BATCH, len(x))), 0, len(x))

    def step(state: tuple, inputs: tuple[jax.Array, jax.Array]) -> tuple[tuple, None]:
        network, memory, best, lowest = state
        number, rows = inputs
        gradient = jax.grad(_loss)(network, x[rows], gap[rows])
        updates, memory = optimizer.update(gradient, memory)
        network = jax.tree.map(jnp.add, network, updates)
        due = ((number + 1) % PACE == 0) | (number + 1 == attack.steps)
        loss = jax.lax.cond(due, lambda: _loss(network, x_check, check), lambda: jnp.asarray(jnp.inf))
        better = loss < lowest
        best = jax.tree.map(lambda new, old: jnp.where(better, new, old), network, best)
        return (network, memory, best, jnp.minimum(loss, lowest)), None

    start = (network, optimizer.init(network), network, _loss(network, x_check, check))
    return jax.lax.scan(step, start, (jnp.arange(attack.steps), drawn))[0][2]
