"""A Target: the model under attack, as far as an attacker may reach it."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from privsec.core import axis, forward
from privsec.core.access import Access
from privsec.core.data import Array, Examples
from privsec.core.defense import Client, OutputDefense, granted_behind, refusing, remembers
from privsec.core.errors import AccessError
from privsec.core.recipe import Model, Params
from privsec.core.signals import SCALARS, SIGNALS

Result = TypeVar("Result")

CHUNK = 4096
"""Records of one forward pass while answers are recorded; bounds the memory, never changes a number."""


@dataclass(frozen=True)
class Target:
    """One model, or a stack of T models, behind the defenses of its endpoint and with the access it grants.

    A pytree: `_params` and `_secret` are its leaves, so a stack vmaps. Richer answers imply poorer ones: logits give
    scores, scores give labels. The access check is a guard against mistakes, not a sandbox: the weights are in the same
    process.

    Attributes:
        model: the functions of the architecture (static).
        outputs: defenses that act on the answers, left to right (static).
        grants: what an attacker may ask (static).
        _params: the model's parameters; every leaf has a leading [T] when stacked.
        _secret: the endpoint's own key, scalar or [T], for noise that repeating a query cannot average away.
        _checkpoints: what `_params` was at earlier moments of the training, first to last; () where nobody kept it.
        _client: whoever asks, to an endpoint that remembers its clients; None for all of its ordinary users.
    """

    model: Model
    _params: Params
    _secret: jax.Array
    outputs: tuple[OutputDefense, ...] = ()
    grants: Access = Access.WEIGHTS
    _checkpoints: tuple[Params, ...] = ()
    _client: Client | None = field(default=None, compare=False, repr=False)
    _recorded: tuple[tuple[Examples, dict[str, np.ndarray]], ...] = field(default=(), compare=False, repr=False)

    @classmethod
    def of(
        cls,
        model: Model,
        params: Params,
        secret: jax.Array | None = None,
        outputs: Iterable[OutputDefense] = (),
        *,
        checkpoints: Iterable[Params] = (),
        grants: Access | None = None,
    ) -> Target:
        """The Target of trained `params` served behind `outputs`.

        Without output defenses everything up to the weights is granted (of a model outside of JAX the logits, or the
        gradients where its library gives them), and UPDATES where there are checkpoints; with them, what they leave. An
        attacker who has the weights attacks the Target without `outputs`. Behind a defense that remembers, all that is
        asked of this Target comes from one client; see `as_new_client`.

        Args:
            model: the architecture's functions.
            params: what it learned; every leaf has a leading [T] for a stack.
            secret: key of the endpoint's noise, scalar or [T] for a stack; may be left out where no output defense
                draws any.
            outputs: defenses of the endpoint, left to right.
            checkpoints: earlier `params`, first to last.
            grants: the most that may be asked, where that is less.

        Raises:
            ValueError: an output defense draws noise, and there is no secret to draw it from.
        """
        outputs, checkpoints = tuple(outputs), tuple(checkpoints)
        if secret is None and any(defense.draws for defense in outputs):
            raise ValueError("these output defenses draw noise from a secret key: give `secret`, a jax.random.key")
        if secret is None:
            one = jax.tree.leaves(jax.eval_shape(model.init, jax.random.key(0)))[0]
            leaf = jax.tree.leaves(params)[0]
            secret = jax.random.split(jax.random.key(0), jnp.shape(leaf)[: leaf.ndim - one.ndim])
        outside = Access.GRADIENTS if model.differentiable else Access.LOGITS
        granted = granted_behind(outputs) & (outside if model.meter else Access.WEIGHTS)
        if checkpoints and not outputs:
            granted |= Access.UPDATES
        granted = granted if grants is None else granted & grants
        stateful = any(map(remembers, outputs))
        model, client = (refusing(model), Client()) if stateful else (model, None)
        return cls(model, params, secret, outputs, granted, checkpoints, client)

    @property
    def size(self) -> int | None:
        """T for a stack, None for one model."""
        return self._secret.shape[0] if self._secret.ndim else None

    def __getitem__(self, which: Any) -> Target:
        """One model of a stack (an integer) or a smaller stack (a slice, a mask or an index array).

        Raises:
            TypeError: this Target is one model.
            IndexError: there is no such model in the stack.
        """
        if self.size is None:
            raise TypeError("this Target is one model, not a stack: it cannot be indexed")
        rows = np.arange(self.size)[which]  # JAX would clamp an index out of range, and iterating would not end
        params, secret, checkpoints = jax.tree.map(
            lambda leaf: leaf[rows], (self._params, self._secret, self._checkpoints)
        )
        kept = np.atleast_1d(rows)
        recorded = tuple(
            (examples, {name: answers[kept] for name, answers in known.items()}) for examples, known in self._recorded
        )
        return replace(self, _params=params, _secret=secret, _checkpoints=checkpoints, _recorded=recorded)

    def restrict(self, access: Access) -> Target:
        """The same Target granting no more than `access`.

        Raises:
            AccessError: `access` is more than this Target grants.
        """
        self._demand(access, f"restricting to {access.title}")
        return replace(self, grants=access)

    def is_served_like(self, other: Target) -> bool:
        """Whether both answer alike: the same models behind the same endpoint, whatever access they grant."""
        served = self.outputs == other.outputs and self._client is other._client
        return served and self.is_bank_of(other) and self._secret is other._secret

    def as_new_client(self) -> Target:
        """The same Target to a client that has asked nothing yet; this very object where nothing is remembered."""
        return replace(self, _client=Client(), _recorded=()) if any(map(remembers, self.outputs)) else self

    def as_its_users(self) -> Target:
        """The same Target to its ordinary users, each batch of queries being a new series of them."""
        return self if self._client is None else replace(self, _client=None, _recorded=())

    def is_bank_of(self, other: Target) -> bool:
        """Whether both are the very same models, whatever stands before them."""
        return self._params is other._params

    @property
    def traceable(self) -> bool:
        """Whether answers can be compiled: the model is written in JAX, and its endpoint remembers nothing."""
        return self.model.meter is None and not any(map(remembers, self.outputs))

    def rows_of_chunk(self, start: int, size: int, count: int) -> slice | np.ndarray:
        """Which of `count` records are asked about together from `start` on: `size` of them, or those that are left.

        What is compiled gets the last one several times, for one shape; elsewhere none is asked about twice.
        """
        if self.traceable and start + size > count:
            return np.minimum(np.arange(start, start + size), count - 1)
        return slice(start, min(start + size, count))

    @property
    def spent(self) -> int | None:
        """Records asked about so far, by everyone; None for a model in JAX, whose queries cost nothing but time."""
        return self.model.meter.spent if self.model.meter else None

    # What an attacker may ask, from the weakest access to the strongest. x is [B, ...], or [B, F] with each record's
    # features in a row; a stack answers [T, B, ...].
    # A model that answers at random draws by `keys` [B], one for each record; without, by the query and its own secret.

    def labels(self, x: Array, keys: jax.Array | None = None) -> jax.Array:
        """Predicted labels int32 [B]. Needs LABELS."""
        self._demand(Access.LABELS, "labels")
        return jnp.argmax(self._answer(x, keys), axis=-1)

    def log_scores(self, x: Array, keys: jax.Array | None = None) -> jax.Array:
        """Log-probabilities [B, C] after the output defenses; finite. Needs SCORES.

        The log form carries what scores carry without losing the digits next to 0 and 1.
        """
        self._demand(Access.SCORES, "scores")
        return self._guard_gradient(self._answer(x, keys))

    def scores(self, x: Array, keys: jax.Array | None = None) -> jax.Array:
        """Probabilities [B, C] after the output defenses. Needs SCORES."""
        return jnp.exp(self.log_scores(x, keys))

    def logits(self, x: Array, keys: jax.Array | None = None) -> jax.Array:
        """Logits [B, C] of the bare model. Needs LOGITS; differentiable only with GRADIENTS."""
        self._demand(Access.LOGITS, "logits")
        x = self._in_shape(x)
        return self._guard_gradient(self._of_each(lambda params, secret: self._logits(params, secret, x, keys)))

    @property
    def adapted(self) -> Target:
        """What an attacker who knows how the model is defended differentiates in its place. Needs GRADIENTS.

        It decides as this Target does; where the model hides nothing, it is this Target.
        """
        self._demand(Access.GRADIENTS, "the adapted model")
        model = self.model.adapted
        return self if model is None else replace(self, model=model, _recorded=())

    @property
    def unaware(self) -> Target:
        """The same Target as an attacker sees it who does not know how it is defended: `adapted` is then itself."""
        return replace(self, model=_unaware(self.model), _recorded=())

    @property
    def random(self) -> bool:
        """Whether asking the same thing again may bring another answer."""
        return self.model.draw is not None

    @property
    def params(self) -> Params:
        """The parameters. Needs WEIGHTS."""
        self._demand(Access.WEIGHTS, "weights")
        return self._params

    @property
    def checkpoints(self) -> tuple[Target, ...]:
        """The same models at earlier moments of their training, first to last, as Targets. Needs UPDATES."""
        self._demand(Access.UPDATES, "checkpoints")
        return tuple(replace(self, _params=params, _checkpoints=(), _recorded=()) for params in self._checkpoints)

    def observe(self, examples: Examples, signal: str) -> np.ndarray:
        """The named signal of the answers to `examples`, float32 [T, N] (T = 1 for one model); see `core/signals.py`.

        Streams over records and runs one model per core; answers recorded by `record` are looked up instead.

        Raises:
            KeyError: no signal has this name.
            AccessError: the signal takes more than this Target grants.
        """
        self._demand(SIGNALS[signal].needs, signal)
        for known, answers in self._recorded:
            if known is examples and signal in answers:
                return answers[signal]
        return self._signals(examples, (signal,))[signal]

    def record(self, examples: Examples) -> Target:
        """The same Target remembering every scalar signal of its answers to `examples` (this very object).

        Many attacks that observe the same candidates then cost one forward pass: T x N numbers a signal are kept, never
        T x N x C. Outside of JAX, where asking again is what costs, the sorted top scores are kept too.
        """
        answers = self._signals(examples, SCALARS if self.traceable else tuple(SIGNALS))
        return replace(self, _recorded=(*self._recorded, (examples, answers)))

    def _signals(self, examples: Examples, names: tuple[str, ...]) -> dict[str, np.ndarray]:
        # One compilation, whatever was granted.
        same = replace(self, grants=Access.WEIGHTS, _checkpoints=(), _recorded=())
        stack = same if self.size is not None else jax.tree.map(lambda leaf: leaf[None], same)
        chunk = min(CHUNK, examples.size)
        starts = range(0, examples.size, chunk)

        def of_model(m: int) -> dict[str, np.ndarray]:
            one, parts = stack[m], []
            for start in starts:
                rows = self.rows_of_chunk(start, chunk, examples.size)
                parts.append(jax.device_get(_signals_of_chunk(one, names, examples.x[rows], examples.y[rows])))
            return {name: np.concatenate([part[name] for part in parts])[: examples.size] for name in names}

        count, answers = stack.size or 0, {}
        for m, of_one in axis.over_models(of_model, range(count)):
            for name, values in of_one.items():
                answers.setdefault(name, np.empty((count, *values.shape), values.dtype))[m] = values
        return answers

    def _in_shape(self, x: Array) -> jax.Array:
        """Records as the model takes them; what is neither that nor in rows is left to its own error."""
        x, shape = jnp.asarray(x), self.model.shape
        return x.reshape(-1, *shape) if x.ndim == 2 and x.shape[1:] == (math.prod(shape),) else x

    def _answer(self, x: Array, keys: jax.Array | None = None) -> jax.Array:
        x = self._in_shape(x)
        ask = forward.log_scores if self.traceable or self.model.meter else forward.in_programs

        def one(params: Params, secret: jax.Array) -> jax.Array:
            log_scores = ask(self.model, params, secret, x, keys)
            for position, defense in enumerate(self.outputs):
                own = jax.random.fold_in(secret, position)
                if self._client is not None and remembers(defense):
                    log_scores = self._client.answered(defense, log_scores, x, own)
                else:
                    log_scores = defense.on_outputs(log_scores, x, own)
            return log_scores

        return self._of_each(one)

    def _logits(self, params: Params, secret: jax.Array, x: jax.Array, keys: jax.Array | None) -> jax.Array:
        return forward.logits(self.model, params, secret, x, keys)

    def _of_each(self, one: Callable[[Params, jax.Array], jax.Array]) -> jax.Array:
        """`one` of the model's parameters and secret; for a stack, of each model's, with a leading [T]."""
        if self.size is None:
            return one(self._params, self._secret)
        if self.traceable:
            return jax.vmap(one)(self._params, self._secret)
        return jnp.stack([one(model._params, model._secret) for model in (self[t] for t in range(self.size))])

    def _demand(self, access: Access, what: str) -> None:
        if access not in self.grants:
            behind = f", behind {', '.join(d.name for d in self.outputs)}" if self.outputs else ""  # type: ignore[attr-defined]
            raise AccessError(
                f"asked for {what}, which takes {access.title} access, but this target grants {self.grants.title}"
                f"{behind}. Declare the access in the attack's `needs`, or attack a target that grants it."
            )

    def _guard_gradient(self, answer: jax.Array) -> jax.Array:
        return answer if Access.GRADIENTS in self.grants else _not_differentiable(answer)


@functools.lru_cache(maxsize=64)
def _unaware(model: Model) -> Model:
    return replace(model, adapted=None)


@jax.custom_jvp
def _not_differentiable(answer: jax.Array) -> jax.Array:
    return answer


@_not_differentiable.defjvp
def _refuse_gradient(primals, tangents):
    del primals, tangents
    raise AccessError(
        "differentiated a target's answer without GRADIENTS access. Declare `needs = Access.GRADIENTS`, or estimate "
        "the gradient from queries."
    )


def compiled(function: Callable[..., Result], *, static: tuple[str, ...] = ()) -> Callable[..., Result]:
    """`function`, whose first argument is a Target, jitted; run as it stands where the Target answers outside of JAX.

    Args:
        function: pure; loops by `jax.lax`, which run in Python where nothing is jitted.
        static: names of hashable arguments that the program is specialized to.
    """
    jitted = jax.jit(function, static_argnames=static)

    @functools.wraps(function)
    def call(target: Target, *args: Any, **kwargs: Any) -> Result:
        if target.traceable:
            return jitted(target, *args, **kwargs)
        with jax.disable_jit():
            return function(target, *args, **kwargs)

    call.jitted = jitted  # type: ignore[attr-defined]
    return call


@functools.partial(compiled, static=("names",))
def _signals_of_chunk(target: Target, names: tuple[str, ...], x: jax.Array, y: jax.Array) -> dict[str, jax.Array]:
    log_scores = target._answer(x)
    return {name: SIGNALS[name].compute(log_scores, y) for name in names}


jax.tree_util.register_pytree_node(
    Target,
    lambda target: (
        (target._params, target._secret, target._checkpoints),
        (target.model, target.outputs, target.grants, target._client),
    ),
    lambda aux, leaves: Target(aux[0], leaves[0], leaves[1], aux[1], aux[2], leaves[2], aux[3]),
)
