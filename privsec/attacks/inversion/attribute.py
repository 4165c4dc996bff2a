"""What attacks on a hidden attribute share: records with each of its values put in, and what is known without a model.

References: Fredrikson et al. 2014, "Privacy in pharmacogenetics", USENIX Security; Jayaraman & Evans 2022, arXiv
2209.01292 (imputation as the baseline).
"""

from __future__ import annotations

import abc
from typing import ClassVar, Literal, NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Float32, Float64, Int
from pydantic import Field

from privsec.core.attack import Attack, Family, Knowledge, Part
from privsec.core.data import Array, Attribute, Examples
from privsec.core.errors import NotApplicable
from privsec.core.evidence import Predictions
from privsec.core.target import Target

LEAF = 5
"""Records of a leaf, at least: chances are then no coarser than a fifth."""
Learner = Literal["linear", "forest"]


class Known(NamedTuple):
    """What an attacker holds beside the model.

    Attributes:
        attribute: which is hidden.
        hidden: the K records.
        population: the attacker's own P records.
        values: int [P]: which value each of those has.
    """

    attribute: Attribute
    hidden: Examples
    population: Examples
    values: Int[np.ndarray, " P"]


class AttributeAttack(Attack):
    """Base: guesses a hidden attribute by asking the model about every value it could have.

    `score(a) = log P(a | rest of the record) + log P(label | model's answer to the record with a)`. The first comes
    from the attacker's population, as does the null, `log P(a | rest, label)` of the same learner without the model.
    """

    family: ClassVar[Family] = "inversion"
    requires: ClassVar[frozenset[Part]] = frozenset({"hidden", "population"})

    attribute: str = "sex"
    """Which of the data set's attributes is guessed, by its name."""
    records: int = Field(default=200, ge=1)
    """How many candidates it is guessed of."""
    targets: int = Field(default=8, ge=1)
    """How many models of a stack are attacked, the first ones."""
    prior: Literal["joint", "marginal"] = "joint"
    """What is believed of the attribute before the model is asked: what a learner says of the rest of the record, or
    how often each value occurs."""
    learner: Learner = "linear"
    """What learns from the population: logistic regression, or a random forest."""

    def run(self, target: Target, knowledge: Knowledge, key: jax.Array) -> Predictions:
        """Guesses the attribute of every hidden record from each of the first `targets` models.

        Args:
            target: one model or a stack.
            knowledge: hidden records, and the population in which the attribute is seen.
            key: nothing is random.

        Returns:
            Log-posteriors; queries are one for each value the attribute can take.

        Raises:
            AccessError: the target grants less than `needs`.
            NotApplicable: there are no hidden records or no population, or all of that has one value.
        """
        del key
        target = target.restrict(self.needs)
        known = _known(self.title, knowledge)
        stack = jax.tree.map(lambda leaf: leaf[None], target) if target.size is None else target[: self.targets]
        imputed = belief(known, self.learner, labels=True)
        scores = _normalized(self.posterior(stack, known))
        return Predictions(scores, imputed, float(len(known.attribute.names)))

    @abc.abstractmethod
    def posterior(self, stack: Target, known: Known) -> Float64[np.ndarray, "T K V"]:
        """How plausible each value is, up to a constant for each record."""

    def believed(self, known: Known) -> Float64[np.ndarray, "K V"]:
        """The log-prior of each value."""
        if self.prior == "joint":
            return belief(known, self.learner, labels=False)
        return np.broadcast_to(_frequency(known), (known.hidden.size, len(known.attribute.names)))


def with_values(x: Float[Array, "K D"], attribute: Attribute) -> Float32[np.ndarray, "K V D"]:
    """Every record with each of the attribute's V values in its columns.

    >>> with_values(np.zeros((1, 2)), Attribute(np.array([1]), np.array([[0.0], [3.0]]), ("no", "yes"))).tolist()
    [[[0.0, 0.0], [0.0, 3.0]]]
    """
    each = np.repeat(np.asarray(x, np.float32)[:, None], len(attribute.values), axis=1)
    each[..., np.asarray(attribute.columns)] = attribute.values
    return each


def values_of(x: Float[Array, "P D"], attribute: Attribute) -> Int[np.ndarray, " P"]:
    """Which value each record has: the nearest, as scaled columns are subject to rounding."""
    encoded = np.asarray(x)[:, np.asarray(attribute.columns)]
    return np.argmin(np.abs(encoded[:, None] - np.asarray(attribute.values)).sum(axis=-1), axis=1)


def belief(known: Known, learner: Learner, *, labels: bool) -> Float64[np.ndarray, "K V"]:
    """log P(value | the rest of the record), learnt from the population alone.

    Args:
        known: what the attacker holds.
        learner: logistic regression or a random forest.
        labels: whether the record's label is among the features; with it this is imputation, the null of the family.
    """
    x, at = (rest(part, known, labels=labels) for part in (known.population, known.hidden))
    return learned(x, known, at, learner)


def rest(records: Examples, known: Known, *, labels: bool) -> Float64[np.ndarray, "N F"]:
    """What is known of records: their other columns, and their labels (one-hot) where those are wanted."""
    others = np.delete(np.asarray(records.x, np.float64), np.asarray(known.attribute.columns), axis=1)
    classes = 1 + max(int(np.max(part.y)) for part in (known.population, known.hidden))
    return np.concatenate([others, np.eye(classes)[np.asarray(records.y)]], axis=1) if labels else others


def learned(
    x: Float64[np.ndarray, "P F"], known: Known, at: Float64[np.ndarray, "K F"], learner: Learner
) -> Float64[np.ndarray, "K V"]:
    """log P(value | features) at other records, of a classifier of the population's values.

    Every value keeps a chance of 1 / (P + V): one that the population lacks is unlikely, not impossible.
    """
    mean, deviation = x.mean(axis=0), x.std(axis=0)
    scale = np.where(deviation > 0, deviation, 1.0)
    if learner == "linear":
        from sklearn.linear_model import LogisticRegression

        model = LogisticRegression(max_iter=2000)
    else:
        from sklearn.ensemble import RandomForestClassifier

        model = RandomForestClassifier(min_samples_leaf=LEAF, random_state=0)
    model.fit((x - mean) / scale, known.values)
    chances = np.zeros((len(at), len(known.attribute.names)))
    chances[:, model.classes_] = model.predict_proba((at - mean) / scale)
    return _normalized(np.log(np.maximum(chances, 1 / (len(x) + chances.shape[1]))))


def _frequency(known: Known) -> Float64[np.ndarray, " V"]:
    """log of how often each value occurs in the population, one more of each than there are."""
    counts = np.bincount(known.values, minlength=len(known.attribute.names)) + 1.0
    return np.log(counts / counts.sum())


def _normalized(scores: Float64[np.ndarray, " *records V"]) -> Float64[np.ndarray, " *records V"]:
    return scores - np.logaddexp.reduce(scores, axis=-1, keepdims=True)


def _known(title: str, knowledge: Knowledge) -> Known:
    hidden, population = knowledge.hidden, knowledge.population
    if hidden is None or not hidden.records.size:
        raise NotApplicable(
            f"{title} guesses a hidden attribute and was given no records that have one: give "
            "Knowledge(hidden=Hidden(attribute, records)), their columns of it set to zero"
        )
    if population is None or not population.size:
        raise NotApplicable(
            f"{title} learns from records in which the attribute can be seen how common its values are, and was given "
            "none: give Knowledge(population=Examples(...))"
        )
    values = values_of(population.x, hidden.attribute)
    if len(np.unique(values)) < 2:
        only = hidden.attribute.names[values[0]]
        raise NotApplicable(f"all {len(values)} records of the attacker have the attribute {only!r}: nothing to learn")
    return Known(hidden.attribute, hidden.records, population, values)
