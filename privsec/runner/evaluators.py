"""Independent classifiers that say what a reconstruction shows. They never met the target's training records."""

from __future__ import annotations

from dataclasses import replace

import jax
import numpy as np

from privsec.core import keys
from privsec.core.recipe import Params, Recipe
from privsec.runner.world import World
from privsec.training import loop
from privsec.training.gradients import AdversarialGradient

RADIUS = 0.1
"""L-infinity reach of the second evaluator's adversarial training, as a share of the box's width."""


def recipes(world: World) -> tuple[Recipe, Recipe]:
    """How the two evaluators are trained on the holdout: like the targets, and adversarially."""
    training = world.experiment.training
    size = world.holdout.size
    plain = training.model_copy(update={"batch_size": min(training.batch_size, size)}).recipe(size)
    low, high = world.box
    reach = RADIUS * float(np.max(np.asarray(high - low)))
    adversarial = replace(plain, gradient=AdversarialGradient())
    return plain, adversarial.with_rates(
        adversarial_radius=reach, adversarial_step=2.5 * reach / AdversarialGradient.steps
    )


def train(world: World) -> list[Params]:
    """Trains both evaluators on the holdout records."""
    everything = np.ones(world.holdout.size, bool)
    return [
        jax.device_get(
            loop.train(world.model, recipe, world.holdout, everything, keys.derive(world.root, "evaluator", i)).params
        )
        for i, recipe in enumerate(recipes(world))
    ]
