"""Inputs rounded to a grid."""

from __future__ import annotations

import functools
from typing import Literal

from pydantic import Field

from privsec.core.defense import ModelDefense
from privsec.core.recipe import Model
from privsec.defenses.model.in_front import in_front
from privsec.ops.image_filters import on_grid, straight_through


class InputRounding(ModelDefense):
    """Rounds every feature to one of so many evenly spaced values before the model reads it.

    An exhibit of gradient masking: the gradient through it is zero, so attacks that follow it find nothing, and an
    attacker who takes the rounding for the identity on the way back (BPDA) loses almost nothing.

    References: Xu et al. 2018, arXiv 1704.01155 (bit depth); Athalye et al. 2018, arXiv 1802.00420 (how it falls).
    """

    name: Literal["input_rounding"] = "input_rounding"
    paper = "Xu et al. 2018, arXiv 1704.01155"
    levels: int | None = Field(default=8, ge=2)
    """Values between 0 and 1, both included; the grid goes on beyond. null rounds nothing."""

    def on_model(self, model: Model) -> Model:
        return model if self.levels is None else _rounded(model, self.levels)


@functools.lru_cache(maxsize=64)
def _rounded(model: Model, levels: int) -> Model:
    change = functools.partial(on_grid, levels=levels)
    return in_front(model, change, straight_through(change))
