"""Numbers that a model has already given: checked, and turned into scores or into a Target that repeats them."""

from __future__ import annotations

import functools

import jax.numpy as jnp
import numpy as np

from privsec.auditor.pool import Pool
from privsec.auditor.record import Caution
from privsec.auditor.sides import What
from privsec.core.access import Access
from privsec.core.data import Examples
from privsec.core.errors import DataError
from privsec.core.recipe import Model
from privsec.core.target import Target

SMALLEST = float(np.finfo(np.float32).tiny)
"""Stands for a probability of 0, whose logarithm is infinite."""
TIED = 0.05
"""From this share of records with one and the same score on, ties are worth a warning."""


def checked(pool: Pool) -> None:
    """Refuses values that are no numbers, or not what they are called.

    Raises:
        DataError: which, why it is likely, and what to write.
    """
    values, what = pool.side.values, pool.side.what
    assert values is not None and what is not None
    if values.dtype.kind not in "fiub":
        raise DataError(f"the {what} column holds {values.dtype}, not numbers. Is it the right column?")
    many = what in ("logits", "probabilities")
    if values.ndim != 1 + many:
        wanted = "[N, C], one number a class" if many else "[N], one number a record"
        hint = (
            "" if many or values.ndim != 2 else " For an answer with C numbers pass what='logits' or 'probabilities'."
        )
        raise DataError(f"{what} must have shape {wanted}; got {values.shape}.{hint}")
    if not np.isfinite(values).all():
        bad = ~np.isfinite(values.reshape(len(values), -1)).all(axis=1)
        n = int(np.argmax(bad))
        side = "member" if pool.member[n] else "non-member"
        raise DataError(
            f"{int(bad.sum())} of {len(values)} records have NaN or infinite {what} (the first is {side} "
            f"{pool.row[n]}). A loss is infinite where the model gave probability 0: write the largest finite loss "
            "instead, or take logits. Leave out records that the model did not answer."
        )
    if many and values.shape[1] < 2:
        raise DataError(f"{what} of one class: a binary model's answer p is the two columns 1 - p and p.")
    if many and pool.y is None:
        raise DataError(
            f"{what} say how sure the model is of the record's own class, so the classes are needed: a column `label`, "
            "or labels=(of members, of non_members)."
        )
    _as_called(values, what)


def _as_called(values: np.ndarray, what: What) -> None:
    in_unit = bool((values >= 0).all() and (values <= 1 + 1e-6).all())
    if what == "confidence" and not in_unit:
        raise DataError(
            f"confidences are probabilities of the true class, but these lie in [{values.min():g}, {values.max():g}]: "
            "they look like losses (what='loss') or logits (what='score', if higher is surer)."
        )
    if what in ("logits", "probabilities"):
        sums_to_one = in_unit and bool(np.allclose(values.sum(axis=1), 1, atol=1e-2))
        if what == "probabilities" and not sums_to_one:
            raise DataError(
                "rows of probabilities must sum to 1, and these do not: pass what='logits' if they are that."
            )
        if what == "logits" and sums_to_one:
            raise DataError("these rows lie in [0, 1] and sum to 1, as probabilities do: pass what='probabilities'.")


def scores_of(pool: Pool) -> np.ndarray:
    """Values of one number a record as scores, higher = more likely a member.

    Raises:
        DataError: all are equal.
    """
    values = np.asarray(pool.side.values, np.float64)
    if values.min() == values.max():
        raise DataError(
            f"every {pool.side.what} is {values[0]:g}: a constant cannot tell members from non-members. Is it the "
            "right column, and were the numbers rounded away?"
        )
    return -values if pool.side.what == "loss" else values


def repeated(pool: Pool) -> tuple[Target, Examples]:
    """A Target that answers record n of the pool with what was given for it, and stand-ins to ask it by."""
    values, what = np.asarray(pool.side.values, np.float32), pool.side.what
    assert pool.y is not None
    if what == "probabilities":
        values = np.log(np.maximum(values, SMALLEST))
    model = _lookup(values.shape[1])
    grants = Access.LOGITS if what == "logits" else Access.SCORES
    target = Target.of(model, {"answers": jnp.asarray(values)}, grants=grants)
    return target, Examples(np.arange(len(values), dtype=np.float32)[:, None], pool.y)


@functools.cache  # one object, one compilation
def _lookup(num_classes: int) -> Model:
    """Answers a stand-in, which is its own row number; float32 holds whole numbers up to 2^24."""
    return Model(
        init=lambda key: {"answers": jnp.zeros((1, num_classes))},
        apply=lambda params, x: params["answers"][x[:, 0].astype(jnp.int32)],
        num_classes=num_classes,
        shape=(1,),
    )


def resolution(what: What, scores: np.ndarray) -> list[Caution]:
    """Whether the scores can tell records apart finely enough for a low false positive rate."""
    scored = scores[~np.isnan(scores)]
    share = float(np.unique(scored, return_counts=True)[1].max()) / len(scored)
    if len(scored) < 20 or share < TIED:
        return []
    why = (
        " Probabilities round to 0 and 1 where a model is surest, which is where members are found: give logits or "
        "losses in full precision."
        if what in ("confidence", "probabilities")
        else " Were they rounded?"
    )
    text = f"{share:.0%} of the records have one and the same score; equal scores are called together or not at all."
    return [Caution(code="resolution-limited", severity="warning", text=text + why)]
