"""The `training:` section of a config, and the Recipe it stands for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import optax
from pydantic import Field, model_validator

from privsec.core.errors import ConfigError
from privsec.core.recipe import Rates, Recipe
from privsec.core.spec import Spec
from privsec.training.gradients import cross_entropy, mean_gradient
from privsec.training.sampling import Shuffled


class Training(Spec):
    """How every model of an experiment is trained, before defenses change it."""

    optimizer: Literal["sgd", "adam"] = "adam"
    """Plain or momentum SGD, or Adam."""
    learning_rate: float = Field(default=1e-3, gt=0, allow_inf_nan=False)
    """Step size at the start."""
    schedule: Literal["constant", "cosine"] = "constant"
    """How the step size goes on: unchanged, or down to zero along a half cosine."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Momentum of SGD; 0 for plain SGD. Adam does not use it."""
    batch_size: int = Field(default=100, ge=1)
    """Records a step."""
    epochs: int = Field(default=40, ge=1)
    """Passes over the training records."""
    checkpoints: int = Field(default=0, ge=0)
    """At how many ends of epochs, evenly spaced before the last, a model is kept for attacks that watch it learn."""
    placement: Literal["auto", "threads", "devices", "vmap"] = "auto"
    """How the models share the hardware: one a core by threads, one a device in turn, or many in one program; by itself
    the first on a CPU, the second where there are several devices, the third on one accelerator."""

    @property
    def unhashed(self) -> frozenset[str]:  # type: ignore[override]
        """Placement is never meaning; and banks without checkpoints keep the name from before there were any."""
        return frozenset({"placement"} if self.checkpoints else {"placement", "checkpoints"})

    @model_validator(mode="after")
    def _before_the_end(self) -> Training:
        if self.checkpoints >= self.epochs:
            raise ValueError(f"{self.epochs} epochs have {self.epochs - 1} ends before the last for checkpoints")
        return self

    def recipe(self, records: int) -> Recipe:
        """The Recipe for models trained on `records` records.

        Raises:
            ConfigError: a batch is larger than the training set.
        """
        if self.batch_size > records:
            raise ConfigError(
                f"training.batch_size is {self.batch_size}, more than the {records} records a model is trained on "
                "(population.size). Write a smaller batch_size or a larger size."
            )
        steps = self.epochs * math.ceil(records / self.batch_size)
        return Recipe(
            records=records,
            steps=steps,
            batch_size=self.batch_size,
            sampling=Shuffled(self.epochs, self.batch_size),
            loss=cross_entropy,
            gradient=mean_gradient,
            optimizer=Optimizer(self.optimizer, self.momentum, steps if self.schedule == "cosine" else None),
            rates={"learning_rate": self.learning_rate},
            checkpoints=self.checkpoints,
        )


@dataclass(frozen=True)
class Optimizer:
    """rates -> optax transformation, with the learning rate as an argument of the program."""

    kind: str
    momentum: float
    decay_steps: int | None

    def __call__(self, rates: Rates) -> optax.GradientTransformation:
        """The transformation at these rates."""
        step_size = rates["learning_rate"]
        if self.decay_steps is not None:
            shape = optax.cosine_decay_schedule(1.0, self.decay_steps)
            scale = optax.scale_by_schedule(lambda step: -step_size * shape(step))
        else:
            scale = optax.scale(-step_size)  # type: ignore[arg-type]
        if self.kind == "adam":
            return optax.chain(optax.scale_by_adam(), scale)
        return optax.chain(optax.trace(self.momentum), scale) if self.momentum else scale
