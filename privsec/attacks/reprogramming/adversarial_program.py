"""The adversarial program, found with the model's gradient.

Reference: Elsayed, Goodfellow & Sohl-Dickstein 2018, "Adversarial reprogramming of neural networks", arXiv 1806.11146.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import jax
import jax.numpy as jnp

from privsec.attacks.reprogramming.base import Batch, Reprogramming, misfit
from privsec.core.access import Access
from privsec.core.target import Target


class AdversarialProgram(Reprogramming):
    """One pattern around every record of another task makes the model do that task, found by its gradient.

    `W <- W - Adam(grad_W [mean CE + l2 |W|^2])`. Beside the paper: the map of labels may be looked for too, and the
    cross-entropy is that among the classes of the task. A model that answers at random is asked for a fresh answer in
    every step, and of a defended one the adapted face is differentiated.

    References: Elsayed et al. 2018, arXiv 1806.11146; Chen et al. 2023, arXiv 2211.11635 (iterative label mapping).
    """

    name: Literal["adversarial_program"] = "adversarial_program"
    needs: ClassVar[Access] = Access.GRADIENTS
    paper: ClassVar[str] = "Elsayed et al. 2018, arXiv 1806.11146"

    @property
    def queries_per_record(self) -> int:
        return 1

    def slope(self, target: Target, batch: Batch, weights: jax.Array, key: jax.Array) -> jax.Array:
        adapted = target.adapted
        drawn = jax.random.split(key, len(batch.y)) if adapted.random else None

        def loss(weights: jax.Array) -> jax.Array:
            logits = adapted.logits(batch.inputs(weights), drawn)
            return jnp.mean(misfit(logits, batch.mapping, batch.y, target.model.rejects))

        return jax.grad(loss)(weights)
