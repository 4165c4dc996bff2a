"""A Defense is an endofunction at its stage; at strength zero it is the identity; a list composes left to right."""

from __future__ import annotations

import abc
import functools
from collections.abc import Iterable
from typing import ClassVar, Literal

import jax

from privsec.core.access import Access
from privsec.core.data import Examples
from privsec.core.recipe import Model, Params, Recipe
from privsec.core.spec import Spec

Stage = Literal["training", "model", "outputs"]


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

    def on_model(self, model: Model) -> Model:
        """The architecture to train and to serve instead, the same object for equal arguments; as a rule, `model`.

        Also where a defense says by `adapted` what an attacker who knows of it attacks.
        """
        return model


class ModelDefense(Defense):
    """Acts on the trained model: it changes the parameters or what stands round them (an input filter, a detector).

    Unlike an output defense it is part of the model: an attacker with the weights has it too, and can differentiate
    it as far as it can be differentiated. What it makes random it says by `Model.draw`, what it rejects by
    `Model.rejects`, and where it hides the gradient it gives by `Model.adapted` what to differentiate instead.
    """

    stage: ClassVar[Stage] = "model"

    @abc.abstractmethod
    def on_model(self, model: Model) -> Model:
        """The functions of the defended model; the same object for equal arguments, and `model` at strength zero."""

    def on_params(self, model: Model, params: Params, public: Examples, key: jax.Array) -> Params:
        """The defended model's parameters.

        Args:
            model: the model before this defense.
            params: one model's parameters.
            public: the defender's own records, never trained on: what thresholds and detectors are fitted to.
            key: for what is drawn when fitting.
        """
        del model, public, key
        return params


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
