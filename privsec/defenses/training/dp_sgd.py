"""Differentially private stochastic gradient descent."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

from pydantic import Field, model_validator

from privsec.core.defense import TrainingDefense
from privsec.core.errors import ConfigError
from privsec.core.recipe import DPEvent, Recipe
from privsec.training.gradients import PrivateGradient, mean_gradient
from privsec.training.sampling import Poisson


class DPSGD(TrainingDefense):
    """Clips each record's gradient, adds Gaussian noise, and samples records by independent coins.

    Give the `epsilon` to reach, and the noise is calibrated to it by the accountant; or give the `noise_multiplier`,
    and epsilon follows. `epsilon: .inf` is no defense at all. The guarantee is for adding or removing one record of one
    model; hyperparameters chosen on the same data are not accounted.

    References: Abadi et al. 2016, arXiv 1607.00133; accounting: Koskela et al. 2020, arXiv 1906.03049.
    """

    name: Literal["dp_sgd"] = "dp_sgd"
    paper = "Abadi et al. 2016, arXiv 1607.00133"
    epsilon: float | None = Field(default=None, gt=0)
    """Privacy budget to reach, at `delta`."""
    delta: float = Field(default=1e-5, gt=0, lt=1)
    """Probability with which the budget may be missed; keep it below one over the number of records."""
    clip_norm: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    """Largest L2 norm a record's gradient keeps."""
    noise_multiplier: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """Noise standard deviation in units of clip_norm, instead of epsilon; 0 clips without noise (no guarantee)."""

    @model_validator(mode="after")
    def _one_of(self) -> DPSGD:
        if (self.epsilon is None) == (self.noise_multiplier is None):
            raise ValueError("give one of epsilon (the noise is calibrated to it) and noise_multiplier")
        return self

    def on_recipe(self, recipe: Recipe) -> Recipe:
        if self.epsilon == math.inf:
            return recipe
        if isinstance(recipe.gradient, PrivateGradient):
            raise ConfigError("two dp_sgd in one list: the second would replace the first. Write one.")
        if recipe.partitions > 1:
            raise ConfigError(
                "dp_sgd after partition_aggregation: it draws batches from all records, and each member has its own. "
                "Leave one of the two out."
            )
        if recipe.gradient is not mean_gradient:
            raise ConfigError(
                "a defense before dp_sgd computes the gradient in its own way (adversarial_training, ensemble, "
                "gradient_pruning, information_bottleneck, trades), which dp_sgd would replace: it clips plain "
                "per-record gradients. "
                "Leave one of the two out."
            )
        if any(getattr(transform, "mixes_records", False) for transform in recipe.transforms):
            raise ConfigError(
                "a defense before dp_sgd mixes records (mixup): one record then moves several clipped gradients and "
                "the guarantee breaks. Leave one of the two out."
            )
        rate = recipe.batch_size / recipe.records
        sampling = Poisson(recipe.steps, rate, recipe.records)
        sigma = self._noise(rate, recipe.steps)
        private = replace(
            recipe,
            sampling=sampling,
            gradient=PrivateGradient(float(recipe.batch_size)),
            dp_event=DPEvent(rate, sigma, recipe.steps) if sigma > 0 else None,
        )
        return private.with_rates(clip_norm=self.clip_norm, noise_multiplier=sigma)

    def _noise(self, rate: float, steps: int) -> float:
        if self.noise_multiplier is not None:
            return self.noise_multiplier
        from privsec.privacy.calibrate import noise_multiplier

        assert self.epsilon is not None
        return noise_multiplier(self.epsilon, self.delta, rate, steps)
