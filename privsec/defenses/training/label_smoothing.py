"""Targets that are less than certain."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import jax
from pydantic import Field

from privsec.core.defense import TrainingDefense
from privsec.core.errors import ConfigError
from privsec.core.recipe import Batch, Rates, Recipe


class LabelSmoothing(TrainingDefense):
    """Trains on (1 - s) y + s / C instead of the one-hot label y.

    A positive s keeps a model from certainty about its members, and makes class inversion *easier*; a negative one,
    small in size, pushes the other way on both counts (its loss has no lower end: watch the utility). Each record's
    target depends on that record alone, so the clipping of DP-SGD bounds it as before.

    References: Szegedy et al. 2016, arXiv 1512.00567, section 7; Struppek et al. 2024, arXiv 2310.06549.
    """

    name: Literal["label_smoothing"] = "label_smoothing"
    paper = "Szegedy et al. 2016, arXiv 1512.00567"
    strength: float = Field(default=0.1, gt=-1, lt=1)
    """s, the share of the target that is spread over all classes; 0 for none, negative to sharpen."""

    def on_recipe(self, recipe: Recipe) -> Recipe:
        if self.strength == 0:
            return recipe
        if "label_smoothing" in recipe.rates:
            raise ConfigError("labels are smoothed already: write one label_smoothing.")
        smoothed = replace(recipe, transforms=(*recipe.transforms, Smoothed()))
        return smoothed.with_rates(label_smoothing=self.strength)


@dataclass(frozen=True)
class Smoothed:
    """The batch with smoothed targets. Rates: `label_smoothing`."""

    def __call__(self, batch: Batch, rates: Rates, key: jax.Array) -> Batch:
        """`batch` with targets (1 - s) y + s / C."""
        del key
        s = rates["label_smoothing"]
        return batch._replace(y=(1 - s) * batch.y + s / batch.y.shape[-1])
