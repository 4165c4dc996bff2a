"""A hidden attribute guessed from scores: the value with which the model is surest of the record's label.

References:
    Fredrikson, Jha & Ristenpart 2015, "Model inversion attacks that exploit confidence information", CCS,
    https://doi.org/10.1145/2810103.2813677.
    Jayaraman & Evans 2022, "Are attribute inference attacks just imputation?", arXiv 2209.01292.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from jaxtyping import Float64

from privsec.attacks.inversion.attribute import AttributeAttack, Known, learned, rest, with_values
from privsec.core.access import Access
from privsec.core.data import Examples
from privsec.core.target import Target


class AttributeInference(AttributeAttack):
    """The value of a hidden attribute that best explains the model's confidence in the record's label.

    `log P(a | rest) + log p_y(record with a)`, or a classifier of all those confidences and the rest of the record.

    References: Fredrikson et al. 2015; Jayaraman & Evans 2022, arXiv 2209.01292.
    """

    name: Literal["attribute_inference"] = "attribute_inference"
    needs: ClassVar[Access] = Access.SCORES
    paper: ClassVar[str] = "Fredrikson, Jha & Ristenpart 2015, https://doi.org/10.1145/2810103.2813677"

    method: Literal["map", "learned"] = "map"
    """The product of prior and confidence; or a learner that is shown the confidences for all values, the label and the
    rest of the record, trained on what the model answers to the population."""

    def posterior(self, stack: Target, known: Known) -> Float64[np.ndarray, "T K V"]:
        answers = confidences(stack, known.hidden, known)
        if self.method == "map":
            return self.believed(known) + answers
        seen = confidences(stack, known.population, known)
        x, at = (rest(part, known, labels=True) for part in (known.population, known.hidden))
        each = [
            learned(np.concatenate([x, before], axis=1), known, np.concatenate([at, now], axis=1), self.learner)
            for before, now in zip(seen, answers, strict=True)
        ]
        return np.stack(each)


def confidences(stack: Target, records: Examples, known: Known) -> Float64[np.ndarray, "T N V"]:
    """log p_y of every model, of each record's own label y, with each value of the attribute put in."""
    x = with_values(np.asarray(records.x), known.attribute)
    asked = Examples(x.reshape(-1, x.shape[-1]), np.repeat(np.asarray(records.y), x.shape[1]))
    return stack.observe(asked, "log_confidence").astype(np.float64).reshape(-1, *x.shape[:2])
