"""Noise on what the model reads."""

from __future__ import annotations

import functools
from typing import Literal

import jax
from pydantic import Field

from privsec.core import keys
from privsec.core.defense import ModelDefense
from privsec.core.recipe import Model
from privsec.defenses.model.in_front import in_front


class InputNoise(ModelDefense):
    """Adds fresh Gaussian noise to every query before the model reads it.

    The model then answers at random: one draw tells an attacker little, and the mean gradient over many draws
    (expectation over transformation) tells what the noise hid. What it costs is accuracy on noisy inputs, unless the
    model was trained on such. Noisy inputs are not clipped to the data's box.

    References: He, Rakin & Fan 2019, doi 10.1109/CVPR.2019.00068 (noise as a defense); Athalye et al. 2018, arXiv
    1802.00420 (EOT against it).
    """

    name: Literal["input_noise"] = "input_noise"
    paper = "He, Rakin & Fan 2019, doi 10.1109/CVPR.2019.00068"
    sigma: float = Field(default=0.1, ge=0, allow_inf_nan=False)
    """Standard deviation of the noise, in units of the features; 0 for none."""

    def on_model(self, model: Model) -> Model:
        return model if self.sigma == 0 else _noisy(model, self.sigma)


@functools.lru_cache(maxsize=64)
def _noisy(model: Model, sigma: float) -> Model:
    def noise(key: jax.Array) -> jax.Array:
        return sigma * jax.random.normal(key, model.shape)

    def fixed(x: jax.Array) -> jax.Array:
        return x + noise(keys.root(0))

    def drawn(x: jax.Array, own: jax.Array) -> jax.Array:
        return x + jax.vmap(noise)(own)

    return in_front(model, fixed, drawn=drawn)
