"""What the first model's answers rest on, for the report's pictures: saliency, and what a program adds to an answer."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float16, Int

from privsec.core.access import Access
from privsec.core.data import Array
from privsec.core.target import Target
from privsec.ops.attribution import attribution

STEPS = 20
"""Gradients on the way from a record without a program to the same record with it."""


def evaded(
    target: Target,
    before: Float[np.ndarray, " S *features"],
    after: Float[np.ndarray, " S *features"],
    called: tuple[Int[np.ndarray, " S"], Int[np.ndarray, " S"]],
) -> dict[str, np.ndarray]:
    """`saliency_before` and `saliency_after` of the answers `called`; {} where the target grants no gradients."""
    if Access.GRADIENTS not in target.grants:
        return {}
    made = (_relative(attribution(target[0], x, y)) for x, y in zip((before, after), called, strict=True))
    return dict(zip(("saliency_before", "saliency_after"), made, strict=True))


def programmed(
    target: Target,
    plain: Float[np.ndarray, " S *features"],
    asked: Float[np.ndarray, " S *features"],
    called: Int[np.ndarray, " S"],
) -> dict[str, np.ndarray]:
    """`saliency` [S, ...] of the answers `called` to what was `asked`, and `effect` [...] of the program.

    The effect is the mean size of the integrated gradients of the answer's logit from the records without the program
    (`plain`) to those with it: which parts of the program bring the answer about. {} without gradients.
    """
    if Access.GRADIENTS not in target.grants:
        return {}
    added = attribution(target[0], asked, called, "integrated_gradients", baseline=plain, steps=STEPS)
    effect = np.abs(np.asarray(added)).mean(axis=0, keepdims=True)
    return {"saliency": _relative(attribution(target[0], asked, called)), "effect": _relative(effect)[0]}


def _relative(maps: Array) -> Float16[np.ndarray, " S *pixels"]:
    """Each record's map as a share of its largest value, a pixel by its strongest channel; 0 where undefined."""
    found = np.nan_to_num(np.asarray(maps, np.float64), posinf=0.0)
    found = found.max(axis=-1, keepdims=True) if found.ndim == 4 else found
    largest = found.reshape(len(found), -1).max(axis=1).reshape(-1, *[1] * (found.ndim - 1))
    return (found / np.where(largest > 0, largest, 1.0)).astype(np.float16)
