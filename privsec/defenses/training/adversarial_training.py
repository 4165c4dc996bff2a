"""Training on the worst inputs near each record."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from pydantic import Field

from privsec.core.defense import TrainingDefense
from privsec.core.errors import ConfigError
from privsec.core.recipe import Recipe
from privsec.training.gradients import AdversarialGradient, mean_gradient


class AdversarialTraining(TrainingDefense):
    """Trains on min_params E[max loss], the inner maximum by projected gradient ascent around each record.

    The ascent starts at a random point of the ball. It costs `steps` more forward and backward passes a step, and some
    accuracy on unchanged records. Neither the radius nor the size of the step asks for another compilation.

    References: Madry et al. 2018, arXiv 1706.06083.
    """

    name: Literal["adversarial_training"] = "adversarial_training"
    paper = "Madry et al. 2018, arXiv 1706.06083"
    radius: float = Field(default=0.1, ge=0, allow_inf_nan=False)
    """Radius of the ball round each record, in the records' own units; 0 for no defense."""
    norm: Literal["linf", "l2"] = "linf"
    """Norm of the ball."""
    steps: int = Field(default=7, ge=1)
    """Steps of the inner ascent."""
    step_size: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Length of a step; 2.5 * radius / steps where null."""
    box: tuple[float, float] | None = None
    """Smallest and largest value of a feature. Null: 0 and 1 for images, no bounds for tables."""

    def on_recipe(self, recipe: Recipe) -> Recipe:
        if self.radius == 0:
            return recipe
        if recipe.gradient is not mean_gradient:
            raise ConfigError(
                "a defense before adversarial_training computes the gradient in its own way, which it would replace: "
                "an `ensemble` comes after it, and of dp_sgd and trades leave one of the two out."
            )
        gradient = AdversarialGradient(self.steps, self.norm, self.box)
        size = 2.5 * self.radius / self.steps if self.step_size is None else self.step_size
        return replace(recipe, gradient=gradient).with_rates(adversarial_radius=self.radius, adversarial_step=size)
