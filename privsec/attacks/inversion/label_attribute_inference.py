"""A hidden attribute guessed from labels: the value with which the model's label makes the true one likely.

References:
    Fredrikson et al. 2014, "Privacy in pharmacogenetics: an end-to-end case study of personalized warfarin dosing",
    USENIX Security.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Float64, Int

from privsec.attacks.inversion.attribute import AttributeAttack, Known, with_values
from privsec.core.access import Access
from privsec.core.data import Array
from privsec.core.target import Target, compiled

CHUNK = 4096
"""Records of one question."""


class LabelAttributeInference(AttributeAttack):
    """The value of a hidden attribute that makes the record's label likeliest, given the label the model answers.

    `log P(a | rest) + log P(y | f(record with a))`; the second is how often the model's errors are of this kind on the
    attacker's own population.

    References: Fredrikson et al. 2014, USENIX Security.
    """

    name: Literal["label_attribute_inference"] = "label_attribute_inference"
    needs: ClassVar[Access] = Access.LABELS
    paper: ClassVar[str] = "Fredrikson et al. 2014, https://www.usenix.org/node/184490"

    def posterior(self, stack: Target, known: Known) -> Float64[np.ndarray, "T K V"]:
        classes = stack.model.num_classes
        x = with_values(np.asarray(known.hidden.x), known.attribute)
        prior, y = self.believed(known), np.asarray(known.hidden.y)
        scores = []
        for t in range(stack.size or 0):
            one = stack[t]
            errors = confusion(np.asarray(known.population.y), labels(one, known.population.x), classes)
            answers = labels(one, x.reshape(-1, x.shape[-1])).reshape(x.shape[:2])
            scores.append(prior + np.log(errors[y[:, None], answers]))
        return np.stack(scores)


def confusion(y: Int[np.ndarray, " N"], answers: Int[np.ndarray, " N"], classes: int) -> Float64[np.ndarray, "C C"]:
    """P(true label | the model's answer), columns sum to 1; every kind of error counts as seen once more than it was.

    >>> confusion(np.array([0, 0, 1]), np.array([0, 0, 0]), 2).round(2).tolist()
    [[0.6, 0.5], [0.4, 0.5]]
    """
    counts = np.ones((classes, classes))
    np.add.at(counts, (y, answers), 1.0)
    return counts / counts.sum(axis=0)


def labels(target: Target, x: Float[Array, "N D"]) -> Int[np.ndarray, " N"]:
    """One model's labels, asked in chunks of one shape."""
    x, size = np.asarray(x, np.float32), min(CHUNK, len(x))
    parts = []
    for start in range(0, len(x), size):
        rows = np.arange(start, start + size)
        rows = np.minimum(rows, len(x) - 1) if target.traceable else rows[rows < len(x)]
        parts.append(np.asarray(_labels(target, jnp.asarray(x[rows]))))
    return np.concatenate(parts)[: len(x)]


@compiled
def _labels(target: Target, x: jax.Array) -> jax.Array:
    return target.labels(x)
