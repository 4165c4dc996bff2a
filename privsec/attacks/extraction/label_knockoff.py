"""Knockoff nets from labels alone.

Reference: Orekondy, Schiele & Fritz 2019, "Knockoff nets: stealing functionality of black-box models", CVPR, arXiv
1812.02766.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import jax
from jaxtyping import Float

from privsec.attacks.extraction.knockoff import Knockoff
from privsec.core.access import Access
from privsec.core.target import Target


class LabelKnockoff(Knockoff):
    """The same as Knockoff where the model answers labels only: the student is trained on those.

    References: Orekondy et al. 2019, arXiv 1812.02766 (truncated answers).
    """

    name: Literal["label_knockoff"] = "label_knockoff"
    needs: ClassVar[Access] = Access.LABELS

    def answers(self, target: Target, x: jax.Array) -> Float[jax.Array, "B C"]:
        return jax.nn.one_hot(target.labels(x), target.model.num_classes)
