"""Softer (or sharper) scores."""

from __future__ import annotations

from typing import Literal

import jax
from pydantic import Field

from privsec.core.defense import OutputDefense


class Temperature(OutputDefense):
    """Divides the logits by T before the softmax: p_c^(1/T) / sum_j p_j^(1/T).

    It hides nothing from an attacker who knows T, who raises the answer to the power T: it stands in the table to show
    what attacks that read raw confidences mistake for privacy. The label and the order of the scores stay, but
    for scores so close that float32 makes them a tie.

    References: Shokri et al. 2017, arXiv 1610.05820, section VIII.
    """

    name: Literal["temperature"] = "temperature"
    paper = "Shokri et al. 2017, arXiv 1610.05820"
    temperature: float = Field(default=5.0, ge=0.01, le=1000)
    """T: 1 changes nothing, more is softer."""

    def on_outputs(self, log_scores: jax.Array, x: jax.Array, secret: jax.Array) -> jax.Array:
        del x, secret
        if self.temperature == 1:
            return log_scores
        return jax.nn.log_softmax(log_scores / self.temperature, axis=-1)
