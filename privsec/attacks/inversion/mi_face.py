"""Model inversion with gradients.

Reference: Fredrikson, Jha & Ristenpart 2015, "Model inversion attacks that exploit confidence information and basic
countermeasures", CCS, https://doi.org/10.1145/2810103.2813677.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Float

from privsec.attacks.inversion.pixel_inversion import Evaluate, PixelInversion, Prior
from privsec.core.access import Access
from privsec.core.data import Examples
from privsec.core.target import Target
from privsec.ops.ascend import Box


class MIFace(PixelInversion):
    """The input that the model calls class y most surely, found by following the model's gradient.

    `min_x misfit(x) + tv * TV(x) + l2 * mean(x^2)`, with misfit `-log p_y(x)` or `1 - p_y(x)`.

    Beside the paper's algorithm: the best iterate is returned rather than the last, and the gradient is taken at points
    that have already been projected onto the box.

    References: Fredrikson et al. 2015, https://doi.org/10.1145/2810103.2813677.
    """

    name: Literal["mi_face"] = "mi_face"
    needs: ClassVar[Access] = Access.GRADIENTS
    paper: ClassVar[str] = "Fredrikson, Jha & Ristenpart 2015, https://doi.org/10.1145/2810103.2813677"

    objective: Literal["loss", "confidence"] = "loss"
    """The misfit: `loss` is -log p_y, whose gradient does not vanish far from the class; `confidence` is 1 - p_y."""

    @property
    def queries_per_step(self) -> int:
        return 1

    def evaluator(self, target: Target, population: Examples | None, y: jax.Array, box: Box, prior: Prior) -> Evaluate:
        del population, box

        def costs(x: Float[jax.Array, " K *features"]) -> tuple[Float[jax.Array, ""], Float[jax.Array, " K"]]:
            log_confidence = jax.nn.log_softmax(target.logits(x))[jnp.arange(len(y)), y]
            misfit = -log_confidence if self.objective == "loss" else -jnp.expm1(log_confidence)
            each = misfit + prior(x)
            return jnp.sum(each), each

        def evaluate(
            x: Float[jax.Array, " K *features"], key: jax.Array
        ) -> tuple[Float[jax.Array, " K"], Float[jax.Array, " K *features"]]:
            del key
            (_, each), gradient = jax.value_and_grad(costs, has_aux=True)(x)
            return each, gradient

        return evaluate
