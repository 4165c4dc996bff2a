"""Training ends when held-out records stop gaining."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from pydantic import Field

from privsec.core.defense import TrainingDefense
from privsec.core.recipe import Recipe


class EarlyStopping(TrainingDefense):
    """Keeps the parameters of the epoch with the best holdout loss, and stops once `patience` epochs brought no better.

    It looks at holdout records and never at a member, so under DP-SGD the epsilon of the full training stays an upper
    bound. Of several, the least patience holds.

    References: Song & Mittal 2021, arXiv 2003.10595.
    """

    name: Literal["early_stopping"] = "early_stopping"
    paper = "Song & Mittal 2021, arXiv 2003.10595"
    patience: int | None = Field(default=3, ge=1)
    """Epochs without a better holdout loss before training stops; null trains to the end."""

    def on_recipe(self, recipe: Recipe) -> Recipe:
        if self.patience is None or (recipe.patience is not None and recipe.patience <= self.patience):
            return recipe
        return replace(recipe, patience=self.patience)
