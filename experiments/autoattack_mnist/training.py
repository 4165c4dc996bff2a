"""A small CNN trained against PGD on MNIST, ball by ball: begun at 0.3, such a net may stay at a constant answer.

Every phase goes on from the parameters of the one before; nothing but the radius of its ball is new.
"""

from __future__ import annotations

import time
from dataclasses import replace

import jax
import numpy as np

import privsec
from privsec.defenses.training.adversarial_training import AdversarialTraining
from privsec.nets.base import model_of
from privsec.nets.cnn import CNN
from privsec.training.loop import train
from privsec.training.standard import Training

NET, SHAPE, CLASSES = CNN(channels=(16, 32), dense=(128,)), (28, 28, 1), 10
PHASES = ((0.1, 2, 1e-3), (0.2, 2, 1e-3), (0.3, 16, 1e-3))
"""Radius, epochs and learning rate (at the start of half a cosine)."""
STEPS = 7
"""Of the inner ascent."""


def trained(fit: privsec.Examples) -> privsec.Target:
    """The network after all phases."""
    model = model_of(NET, SHAPE, CLASSES)
    params = model.init(jax.random.key(0))
    for number, (radius, epochs, rate) in enumerate(PHASES):
        began = time.perf_counter()
        recipe = Training(epochs=epochs, learning_rate=rate, batch_size=64, schedule="cosine").recipe(fit.size)
        recipe = AdversarialTraining(radius=radius, steps=STEPS).on_recipe(recipe)
        going_on = replace(model, init=lambda _, params=params: params)
        params = train(going_on, recipe, fit, np.ones(fit.size, bool), jax.random.key(number)).params
        jax.block_until_ready(params)
        print(f"radius {radius}: {epochs} epochs in {time.perf_counter() - began:.0f} s", flush=True)
    return privsec.Target.of(model, params)
