"""Training on noisy records."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import jax
from pydantic import Field

from privsec.core.defense import TrainingDefense
from privsec.core.errors import ConfigError
from privsec.core.recipe import Batch, Rates, Recipe


class NoiseTraining(TrainingDefense):
    """Adds fresh Gaussian noise to every record each time it is seen.

    What randomized smoothing wants of the model it smooths, with the same sigma. Noisy records are not clipped to the
    data's box: the certificate is about noise that is not. Each record's noise is its own, so the clipping of DP-SGD
    bounds its influence as before.

    References: Cohen et al. 2019, arXiv 1902.02918.
    """

    name: Literal["noise_training"] = "noise_training"
    paper = "Cohen et al. 2019, arXiv 1902.02918"
    sigma: float = Field(default=0.25, ge=0, allow_inf_nan=False)
    """Standard deviation of the noise on each feature, in the records' own units; 0 for none."""

    def on_recipe(self, recipe: Recipe) -> Recipe:
        if self.sigma == 0:
            return recipe
        if "noise_training" in recipe.rates:
            raise ConfigError("records are noisy already: write one noise_training.")
        return replace(recipe, transforms=(*recipe.transforms, Noisy())).with_rates(noise_training=self.sigma)


@dataclass(frozen=True)
class Noisy:
    """The batch with Gaussian noise on its records. Rates: `noise_training`, the sigma."""

    def __call__(self, batch: Batch, rates: Rates, key: jax.Array) -> Batch:
        """`batch` with x + sigma * N(0, 1)."""
        return batch._replace(x=batch.x + rates["noise_training"] * jax.random.normal(key, batch.x.shape))
