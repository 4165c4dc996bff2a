"""A Defense is an endofunction at its stage; at strength zero it is the identity; a list composes left to right."""

from __future__ import annotations

import abc
import functools
import math
import threading
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple, Protocol, TypeGuard

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from pydantic import Field

from privsec.core.access import Access
from privsec.core.data import Array, Examples
from privsec.core.errors import NotApplicable
from privsec.core.recipe import Model, Params, Recipe
from privsec.core.spec import Spec

if TYPE_CHECKING:
    from privsec.core.target import Target

Stage = Literal["data", "training", "model", "outputs"]

NEVER = 50.0
"""By how many logits "refused" stays below every class where nothing is refused: nothing is left of it in a float32."""


class Defense(Spec):
    """Base of all defenses. Subclass the class of a stage, not this one."""

    stage: ClassVar[Stage]
    paper: ClassVar[str]
    """Where the method comes from."""


class Cleaned(NamedTuple):
    """What a defender made of a training set of n records before training on it.

    Attributes:
        y: int32 [n]: the labels, corrected where the defense corrects them.
        kept: bool [n]: which records are trained on.
        suspicion: float64 [n]: how suspicious each one looked, in any unit; NaN where nothing is said.
    """

    y: Array
    kept: Array
    suspicion: Array

    @classmethod
    def untouched(cls, data: Examples) -> Cleaned:
        """Everything as it is, and nothing said of it."""
        return cls(np.asarray(data.y), np.ones(data.size, bool), np.full(data.size, np.nan))

    @classmethod
    def without(cls, data: Examples, suspicion: np.ndarray, share: float, *, by_class: bool = False) -> Cleaned:
        """The training set less the most suspicious `share` (rounded down) of its records, or of each class's."""
        y, kept = np.asarray(data.y), np.ones(data.size, bool)
        for rows in [np.flatnonzero(y == label) for label in np.unique(y)] if by_class else [np.arange(data.size)]:
            worst = np.argsort(-suspicion[rows], kind="stable")
            kept[rows[worst[: math.floor(share * len(rows))]]] = False
        return cls(y, kept, np.asarray(suspicion, np.float64))


class Curator(NamedTuple):
    """What a defender has to look at a training set with.

    Attributes:
        public: the defender's own records, never trained on, which nobody tampered with.
        fit: trains a model as the experiment does, without other defenses, on those records of the training set where
            the mask [n] holds: (y int32 [n], mask, key) -> Target.
        key: for what is drawn.
    """

    public: Examples
    fit: Callable[[Array, Array, jax.Array], Target]
    key: jax.Array


class DataDefense(Defense):
    """Acts on the records before a model is trained on them: leaves some out, or corrects their labels."""

    stage: ClassVar[Stage] = "data"

    @abc.abstractmethod
    def on_data(self, data: Examples, curator: Curator) -> Cleaned:
        """What of one model's training set it is trained on; everything at strength zero."""


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

    def fitted(self, public: Examples) -> OutputDefense:
        """The defense as it is served, its thresholds set on the defender's own records, never trained on.

        As a rule the defense itself. Not called by a Target: whoever makes one puts `defense.fitted(public)` into it.
        """
        del public
        return self


class Session(Protocol):
    """One client's dealings with one endpoint, on the host: what was asked before is in here and nowhere else."""

    def answered(self, log_scores: np.ndarray, x: np.ndarray) -> np.ndarray:
        """What is answered instead of `log_scores` [B, C] to the queries `x` [B, ...], asked in this order."""
        ...


class RememberingDefense(OutputDefense):
    """Acts on the answers by what the same client asked before, so that they hang on the order of the queries.

    The model behind it gets a last class "refused" (`refusing`) that only this defense answers. A Target behind it
    answers outside of JAX: it is asked in Python, in the attacker's order and about no record more than that. What a
    compiled program asks besides (padding, points that are done already) is nothing to a model but would be held
    against a client.
    """

    accounts: int = Field(default=1, ge=1)
    """The attacker's strength: how many accounts it has. It goes on with the next one where one is banned."""

    @property
    def active(self) -> bool:
        """Whether anything is remembered; False at strength zero."""
        return True

    @abc.abstractmethod
    def session(self, accounts: int | None) -> Session:
        """The dealings of a client with so many accounts that has asked nothing yet; None for any number of them."""

    def on_outputs(self, log_scores: jax.Array, x: jax.Array, secret: jax.Array) -> jax.Array:
        """What ordinary users get who ask about `x` one after another.

        A false alarm costs them that one answer: the next query is the next user's. Log-scores [B, C + 1], the last
        class being "refused". Not to be compiled.
        """
        del secret
        return _asked(self.session(None), log_scores, x) if self.active else log_scores


class Client:
    """What an endpoint remembers of one client: a session for each model and each defense that remembers."""

    def __init__(self) -> None:
        self.sessions: dict[bytes, Session] = {}
        self._lock = threading.Lock()

    def answered(
        self, defense: RememberingDefense, log_scores: jax.Array, x: jax.Array, secret: jax.Array
    ) -> jax.Array:
        """What this client is answered; `secret`, of one model and one place in the list, tells the sessions apart."""
        _refuse_programs(x, secret)
        which = np.asarray(jax.random.key_data(secret)).tobytes()
        with self._lock:
            if which not in self.sessions:
                self.sessions[which] = defense.session(defense.accounts)
            return _asked(self.sessions[which], log_scores, x)


def remembers(defense: OutputDefense) -> TypeGuard[RememberingDefense]:
    """Whether answers hang on what was asked before."""
    return isinstance(defense, RememberingDefense) and defense.active


def _asked(session: Session, log_scores: jax.Array, x: jax.Array) -> jax.Array:
    _refuse_programs(log_scores, x)
    return jnp.asarray(session.answered(np.asarray(log_scores), np.asarray(x)))


def _refuse_programs(*given: jax.Array) -> None:
    if any(isinstance(part, Tracer) for part in given):
        raise NotApplicable(
            "this endpoint remembers what it was asked, so it has to be asked query by query, and a compiled or "
            "vectorized program asked it. Use privsec.core.target.compiled in place of jax.jit, and batches in place "
            "of jax.vmap."
        )


@functools.lru_cache(maxsize=64)
def refusing(model: Model) -> Model:
    """The model with a last class "refused", for an endpoint to answer: the model itself never does.

    A model that rejects records already is returned as it is. It shows no layers, for behind an endpoint nobody sees
    them.
    """
    if model.rejects:
        return model

    def widened(logits: jax.Array) -> jax.Array:
        return jnp.concatenate([logits, jnp.min(logits, axis=-1, keepdims=True) - NEVER], axis=-1)

    def apply(params: Params, x: jax.Array) -> jax.Array:
        return widened(model.apply(params, x))

    def draw(params: Params, x: jax.Array, keys: jax.Array) -> jax.Array:
        return widened(model.draw(params, x, keys))  # type: ignore[misc]

    return replace(
        model,
        apply=apply,
        draw=None if model.draw is None else draw,
        num_classes=model.num_classes + 1,
        rejects=True,
        adapted=None,
        tapped=None,
        layers=(),
        votes=None,
    )


def granted_behind(outputs: Iterable[OutputDefense]) -> Access:
    """What an endpoint grants that answers through these defenses; everything where there are none."""
    return functools.reduce(lambda left, defense: left & defense.leaves, outputs, Access.WEIGHTS)
