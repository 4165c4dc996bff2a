"""A Defense is an endofunction at its stage; at strength zero it is the identity; a list composes left to right."""

from __future__ import annotations

import abc
import functools
from collections.abc import Iterable
from typing import ClassVar, Literal

import jax

from privsec.core.access import Access
from privsec.core.recipe import Recipe
from privsec.core.spec import Spec

Stage = Literal["training", "outputs"]


class Defense(Spec):
    """Base of all defenses. Subclass the class of a stage, not this one."""

    stage: ClassVar[Stage]
    paper: ClassVar[str]
    """Where the method comes from."""


class TrainingDefense(Defense):
    """Acts on how the model is trained."""

    stage: ClassVar[Stage] = "training"

    @abc.abstractmethod
    def on_recipe(self, recipe: Recipe) -> Recipe:
        """The Recipe to train with instead; the same object at strength zero."""


class OutputDefense(Defense):
    """Acts on what the served model answers. It does not stand in the way of an attacker who holds the weights."""

    stage: ClassVar[Stage] = "outputs"
    leaves: ClassVar[Access] = Access.SCORES
    """The most an attacker at the endpoint still gets."""
    draws: ClassVar[bool] = False
    """Whether answers depend on the server's secret key."""

    @abc.abstractmethod
    def on_outputs(self, log_scores: jax.Array, x: jax.Array, secret: jax.Array) -> jax.Array:
        """What is answered instead of `log_scores` [B, C] to the queries `x` [B, ...]; `secret` is the server's key."""


def granted_behind(outputs: Iterable[OutputDefense]) -> Access:
    """What an endpoint grants that answers through these defenses; everything where there are none."""
    return functools.reduce(lambda left, defense: left & defense.leaves, outputs, Access.WEIGHTS)
