"""Only the predicted label is given."""

from __future__ import annotations

from typing import ClassVar, Literal

import jax
import jax.numpy as jnp

from privsec.core.access import Access
from privsec.core.defense import OutputDefense

REST = 1e-6
"""Share of the answer that goes to each class but the predicted one, so that log-scores stay finite."""


class LabelOnly(OutputDefense):
    """Answers the predicted label and nothing else; it never changes.

    Attacks that need scores cannot run behind it. Those that walk to the decision boundary can, at a price in queries.
    It has no strength: it is there or it is not.

    References: Choquette-Choo et al. 2021, arXiv 2007.14321.
    """

    name: Literal["label_only"] = "label_only"
    paper = "Choquette-Choo et al. 2021, arXiv 2007.14321"
    leaves: ClassVar[Access] = Access.LABELS

    def on_outputs(self, log_scores: jax.Array, x: jax.Array, secret: jax.Array) -> jax.Array:
        del x, secret
        classes = log_scores.shape[-1]
        label = jax.nn.one_hot(jnp.argmax(log_scores, axis=-1), classes, dtype=log_scores.dtype)
        return jnp.log(REST + (1.0 - classes * REST) * label)
