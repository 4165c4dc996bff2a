"""An L2 penalty on the parameters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import optax
from pydantic import Field

from privsec.core.defense import TrainingDefense
from privsec.core.errors import ConfigError
from privsec.core.recipe import Rates, Recipe


class WeightDecay(TrainingDefense):
    """Adds strength / 2 * |params|^2 to the loss, all parameters included.

    The penalty's gradient, strength * params, is added to the batch's gradient just before the optimizer sees it. It
    looks at no record, so under DP-SGD it is neither clipped nor noised and costs no privacy.

    References: Shokri et al. 2017, arXiv 1610.05820, section VIII.
    """

    name: Literal["weight_decay"] = "weight_decay"
    paper = "Shokri et al. 2017, arXiv 1610.05820"
    strength: float = Field(default=1e-3, ge=0)
    """Factor of the penalty; 0 for none."""

    def on_recipe(self, recipe: Recipe) -> Recipe:
        if self.strength == 0:
            return recipe
        if "weight_decay" in recipe.rates:
            raise ConfigError("weights are decayed already: write one weight_decay with the sum of the strengths.")
        return replace(recipe, optimizer=Penalized(recipe.optimizer)).with_rates(weight_decay=self.strength)


@dataclass(frozen=True)
class Penalized:
    """`optimizer` of the gradient plus `weight_decay` times the parameters. Rates: `weight_decay`."""

    optimizer: Callable[[Rates], optax.GradientTransformation]

    def __call__(self, rates: Rates) -> optax.GradientTransformation:
        """The transformation at these rates."""
        return optax.chain(optax.add_decayed_weights(rates["weight_decay"]), self.optimizer(rates))  # type: ignore[arg-type]
