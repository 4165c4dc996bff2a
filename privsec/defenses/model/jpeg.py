"""Images compressed before they are classified."""

from __future__ import annotations

import functools
from typing import Literal

from pydantic import Field

from privsec.core.defense import ModelDefense
from privsec.core.errors import ConfigError
from privsec.core.recipe import Model
from privsec.defenses.model.in_front import in_front
from privsec.ops.image_filters import jpeg, straight_through


class JPEGFilter(ModelDefense):
    """Quantizes images as JPEG does, each channel like luminance, before the model reads them.

    An exhibit of gradient masking: the quantization's gradient is zero, and an attacker who takes it for the identity
    on the way back (BPDA) is hardly slowed down. Images are in [0, 1].

    References: Dziugaite et al. 2016, arXiv 1608.00853; Athalye et al. 2018, arXiv 1802.00420 (how it falls).
    """

    name: Literal["jpeg"] = "jpeg"
    paper = "Dziugaite et al. 2016, arXiv 1608.00853"
    quality: int | None = Field(default=75, ge=1, le=100)
    """JPEG's quality; 100 still rounds a little, null compresses nothing."""

    def on_model(self, model: Model) -> Model:
        if self.quality is None:
            return model
        if len(model.shape) != 3:
            raise ConfigError(
                f"jpeg compresses images [height, width, channels], and these records have shape {list(model.shape)}. "
                "Use {name: input_rounding} for tables."
            )
        return _compressed(model, self.quality)


@functools.lru_cache(maxsize=64)
def _compressed(model: Model, quality: int) -> Model:
    change = functools.partial(jpeg, quality=quality)
    return in_front(model, change, straight_through(change))
