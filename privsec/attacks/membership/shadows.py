"""What an attacker with reference models sees: one signal of the candidates, on the targets and on the references."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float64, Int, Real

from privsec.core import axis
from privsec.core.attack import Knowledge
from privsec.core.data import Examples
from privsec.core.errors import NotApplicable
from privsec.core.target import Target
from privsec.ops import leave_out

LARGE = 1e300
"""Infinity, where it is divided by itself."""


class Shadows(NamedTuple):
    """One signal of N candidates, and who may use and was trained on what.

    Attributes:
        target: what the targets answer; the last axis is there for a signal of several numbers only.
        references: what the references answer.
        included: was candidate n in the training set of reference m?
        usable: may the attacker on target t use reference m? One row where all targets may use the same.
    """

    target: Float[np.ndarray, " T N *signal"]
    references: Float[np.ndarray, " M N *signal"]
    included: Bool[np.ndarray, "M N"]
    usable: Bool[np.ndarray, "#T M"]


def candidates_of(knowledge: Knowledge) -> Examples:
    """The records whose membership is asked."""
    if knowledge.candidates is None:
        raise NotApplicable("there are no candidates: a membership attack needs the records it is to judge")
    return knowledge.candidates


def population_of(knowledge: Knowledge) -> Examples:
    """The attacker's own records, on which no target was trained."""
    if knowledge.population is None or knowledge.population.size == 0:
        raise NotApplicable(
            "the attacker has no population: keep back records from the same distribution on which no model is trained"
        )
    return knowledge.population


def observe(target: Target, knowledge: Knowledge, signal: str, *, inside: int, outside: int) -> Shadows:
    """The signal on targets and references, checked; `signal` is its name in `core/signals.py`, the rest as `ask`."""
    candidates = candidates_of(knowledge)
    return ask(target, knowledge, lambda models: models.observe(candidates, signal), inside=inside, outside=outside)


def ask(
    target: Target,
    knowledge: Knowledge,
    question: Callable[[Target], Float[np.ndarray, " T N *signal"]],
    *,
    inside: int,
    outside: int,
) -> Shadows:
    """What targets and references answer to one question, checked.

    Args:
        target: the targets.
        knowledge: the attacker's candidates and references.
        question: of a stack of models, about the candidates.
        inside: for how many usable references, at least, each candidate must have been trained on (IN).
        outside: and for how many not (OUT).

    Raises:
        NotApplicable: there are no references, or too few of them.
        ValueError: the Knowledge contradicts itself, or a target is among its own references.
    """
    included, usable = check_references(target, knowledge)
    for needed, chosen, which in ((inside, included, "IN"), (outside, ~included, "OUT")):
        if needed and (fewest := leave_out.fewest(chosen, usable)) < needed:
            raise NotApplicable(
                f"some candidate has only {fewest} usable references for which it is {which}, and {needed} are needed: "
                "train more models (`population.models`), in complementary pairs"
            )
    assert knowledge.references is not None
    answers = question(target)
    known = answers if target.is_served_like(knowledge.references) else question(knowledge.references)
    return Shadows(answers, known, included, usable)


def check_references(target: Target, knowledge: Knowledge) -> tuple[Bool[np.ndarray, "M N"], Bool[np.ndarray, "#T M"]]:
    """`included` and `usable`; raises as `observe` does."""
    references, candidates = knowledge.references, candidates_of(knowledge)
    if references is None or knowledge.included is None:
        raise NotApplicable("the attacker has no reference models, with which this attack compares the target")
    included = np.asarray(knowledge.included, bool)
    shape = (references.size, candidates.size)
    if included.shape != shape:
        raise ValueError(f"`included` has shape {included.shape}; M references and N candidates make it {shape}")
    if knowledge.usable is None:
        if target.is_bank_of(references):
            raise ValueError(
                "every target would be among its own references, which reveals the answer: pass `usable` bool [T, M], "
                "False at the target itself and at its complementary twin"
            )
        return included, np.ones((1, len(included)), bool)
    usable, shape = np.asarray(knowledge.usable, bool), (target.size or 1, len(included))
    if usable.shape != shape:
        raise ValueError(f"`usable` has shape {usable.shape}; T targets and M references make it {shape}")
    if target.is_bank_of(references) and usable.diagonal().any():
        t = int(np.argmax(usable.diagonal()))
        raise ValueError(
            f"target {t} is among its own references, which reveals the answer: set usable[{t}, {t}] to False"
        )
    if not usable.any(axis=1).all():
        raise NotApplicable(f"target {int(np.argmin(usable.any(axis=1)))} has no usable reference: train more models")
    return included, usable


def outdone(
    values: Float[np.ndarray, "T N"], known: Float[np.ndarray, "T K"], side: Literal["left", "right"] = "left"
) -> Int[np.ndarray, "T N"]:
    """How many known values of its row each value exceeds ("right": or equals).

    A sort and a binary search instead of N x K comparisons.

    >>> outdone(np.array([[2.0, 0.0]]), np.array([[2.0, 1.0, 3.0]])).tolist()
    [[1, 0]]
    """
    found = np.empty(values.shape, np.int64)

    def row(t: int) -> None:
        # A search is quicker for values near the one before, and 16 bits are sorted in a tenth of the time of 64.
        with np.errstate(over="ignore"):
            order = np.argsort(values[t].astype(np.float16).view(np.uint16), kind="stable")
        found[t, order] = np.searchsorted(np.sort(known[t]), values[t, order], side=side)

    axis.each_model(row, range(len(values)))
    return found


def break_ties(
    count: Real[np.ndarray, "T N"], by: Float[np.ndarray, "T N"], total: int | Real[np.ndarray, "#T N"]
) -> Float64[np.ndarray, "T N"]:
    """The fraction `count / total` as a score without ties: (count + w) / (total + 1), w in (0, 1) rising with `by`.

    A fraction of `total` things takes no more than total + 1 values, and a false-positive rate below 1 / total would be
    out of its reach; among equal counts this orders records by `by`, any real number.
    """
    by = np.clip(by.astype(np.float64), -LARGE, LARGE)
    score = np.abs(by)
    score += 1.0
    np.divide(by, score, out=score)  # in (-1, 1); in place: the arrays are large
    score += 1.0
    score /= 2.0
    score += count
    score /= total + 1.0
    return score
