"""What a foreign model answers: which kinds there are, and how each is checked and read as log-scores."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, get_args

import numpy as np

from privsec.core.access import Access
from privsec.core.errors import ConfigError, PrivsecError, did_you_mean

Answers = Literal["probabilities", "log_probabilities", "logits", "labels"]
"""The kinds of answer: [B, C], or [B] labels 0..C-1; of two classes also the second one's alone, [B] or [B, 1]."""

GRANTS: dict[str, Access] = {
    "labels": Access.LABELS,
    "probabilities": Access.SCORES,
    "log_probabilities": Access.SCORES,
    "logits": Access.LOGITS,
}
"""What an attacker who gets such answers has."""

TOLERANCE = 2e-2
"""How far a row of probabilities may be from summing to 1: endpoints round."""
FLOOR = float(np.finfo(np.float32).tiny)
"""What a smaller probability is taken to be, zero among them: the least that float32 holds."""


class TargetError(PrivsecError):
    """A foreign model cannot be asked as it was described, or gave no usable answer."""


def check_kind(answers: str) -> None:
    """Raises ConfigError where there is no such kind of answer."""
    if answers not in GRANTS:
        kinds = ", ".join(get_args(Answers))
        raise ConfigError(f"no such kind of answers {answers!r}; write one of {kinds}.{did_you_mean(answers, GRANTS)}")


def read(
    answer: Any, answers: Answers, *, rows: int, num_classes: int, floor: float = FLOOR, first: int = 0
) -> np.ndarray:
    """The answer to `rows` records as float32 [B, C] whose log-softmax are the model's log-scores.

    Logits stay as they are; probabilities become their logarithms. Labels become a one for the label and the floor for
    all others.

    Args:
        answer: anything that NumPy reads as an array of numbers.
        answers: what it is.
        rows: B, how many records were asked about.
        num_classes: C.
        floor: what a smaller probability is taken to be, before its logarithm.
        first: the number of the first of these records, for messages.

    Raises:
        TargetError: the number of rows or columns is wrong, a value is not finite, or the answer is plainly of another
            kind than `answers` says.

    >>> read([[0.25, 0.75]], "probabilities", rows=1, num_classes=2)
    array([[-1.3862944, -0.2876821]], dtype=float32)
    >>> read([[-2.0, 3.0]], "probabilities", rows=1, num_classes=2)
    Traceback (most recent call last):
        ...
    privsec.targets.answers.TargetError: the answer to record 0 is no distribution: it holds -2: these look like ...
    """
    values = _numbers(answer)
    if values.ndim == 0 or len(values) != rows:
        raise TargetError(
            f"asked about {rows} records, the model gave an answer of shape {list(values.shape)}: it must answer every "
            "record, in their order, along the first axis"
        )
    if answers == "labels":
        values = np.eye(num_classes)[_labels(values, num_classes, first)]
    elif num_classes == 2 and values.ndim <= 2 and values.size == rows:
        values = _both_classes(values.reshape(-1), answers, first)
    if values.shape != (rows, num_classes):
        raise TargetError(
            f"the model answered {rows} records with shape {list(values.shape)}, not [{rows}, {num_classes}]: is "
            f"`num_classes` {num_classes}, and are the answers {answers.replace('_', '-')}?"
        )
    _CHECKS[answers](values, first)
    if answers in ("probabilities", "labels"):
        values = np.log(np.maximum(values, floor))
    elif answers == "log_probabilities":
        values = np.maximum(values, np.log(floor))
    limit = np.finfo(np.float32).max
    return np.clip(values, -limit, limit).astype(np.float32)


def _numbers(answer: Any) -> np.ndarray:
    try:
        values = np.asarray(answer)
        if values.dtype.kind not in "USmMc":
            return values.astype(np.float64)
    except (TypeError, ValueError, RuntimeError):
        pass
    raise TargetError(
        f"the answer ({type(answer).__name__}) cannot be read as an array of numbers: return a NumPy array, one row "
        "for each record"
    )


def _labels(values: np.ndarray, num_classes: int, first: int) -> np.ndarray:
    if values.size != len(values):
        raise TargetError(
            f"labels are one number for each record, and the answer has shape {list(values.shape)}: for one number a "
            "class pass answers='probabilities' or answers='logits'"
        )
    values = values.reshape(-1)
    _check_each(
        np.isin(values, np.arange(num_classes)),
        first,
        lambda row: f"is {values[row]:g}, which is no label: labels are whole numbers from 0 to {num_classes - 1}",
    )
    return values.astype(np.int64)


def _both_classes(second: np.ndarray, answers: str, first: int) -> np.ndarray:
    """Both columns from the second class's alone."""
    if answers == "logits":
        return np.stack([np.zeros_like(second), second], axis=1)
    if answers == "log_probabilities":
        raise TargetError(
            "the log-probability of one class does not tell the other's digits: answer both, [B, 2], or "
            "answers='probabilities'"
        )
    _check_finite(second[:, None], first)
    _check_each(
        (second >= 0) & (second <= 1),
        first,
        lambda row: f"is {second[row]:g}, no probability of class 1: if it is a logit, pass answers='logits'",
    )
    return np.stack([1 - second, second], axis=1)


def _check_probabilities(values: np.ndarray, first: int) -> None:
    _check_finite(values, first)
    negative, sums = values < -1e-6, values.sum(axis=1)

    def why(row: int) -> str:
        if negative[row].any() or values[row].max() > 1 + TOLERANCE:
            worst = values[row].min() if negative[row].any() else values[row].max()
            return f"is no distribution: it holds {worst:g}: these look like logits: pass answers='logits'"
        return (
            f"is no distribution: it sums to {sums[row]:g}. Answers of independent sigmoids, or of the largest classes "
            "only, are none: give all classes, or answers='labels'"
        )

    _check_each(~negative.any(axis=1) & (np.abs(sums - 1) <= TOLERANCE), first, why)


def _check_log_probabilities(values: np.ndarray, first: int) -> None:
    _check_finite(np.where(np.isneginf(values), 0.0, values), first)
    sums = np.exp(np.minimum(values, 1.0)).sum(axis=1)

    def why(row: int) -> str:
        if values[row].min() >= 0 and abs(values[row].sum() - 1) <= TOLERANCE:
            return "sums to 1: these look like probabilities: pass answers='probabilities'"
        return (
            f"is the logarithm of no distribution (exp sums to {sums[row]:g}): if it is logits, pass answers='logits'"
        )

    _check_each(np.abs(sums - 1) <= TOLERANCE, first, why)


def _check_logits(values: np.ndarray, first: int) -> None:
    _check_finite(values, first)
    # Real logits have no reason to sum to 1, let alone in every row.
    if len(values) and (values >= 0).all() and np.allclose(values.sum(axis=1), 1, rtol=0, atol=1e-4):
        raise TargetError(
            "every row of the answer is in [0, 1] and sums to 1: these look like probabilities: pass "
            "answers='probabilities' (a softmax of probabilities would hide what the model gives away)"
        )


def _check_finite(values: np.ndarray, first: int) -> None:
    _check_each(
        np.isfinite(values).all(axis=1),
        first,
        lambda row: (
            f"holds {values[row][~np.isfinite(values[row])][0]}: the model broke on this record, or its training "
            "diverged"
        ),
    )


def _check_each(right: Any, first: int, why: Callable[[int], str]) -> None:
    if not right.all():
        row = int(np.flatnonzero(~right)[0])
        raise TargetError(f"the answer to record {first + row} {why(row)}")


_CHECKS: dict[str, Callable[[np.ndarray, int], None]] = {
    "probabilities": _check_probabilities,
    "log_probabilities": _check_log_probabilities,
    "logits": _check_logits,
    "labels": _check_probabilities,
}
