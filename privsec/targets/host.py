"""Targets that answer outside of JAX: any function from records to answers, and stacks of such models."""

from __future__ import annotations

import functools
import operator
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from privsec.core.access import Access
from privsec.core.errors import AccessError, ConfigError, PrivsecError
from privsec.core.meter import Meter
from privsec.core.recipe import Model, Params
from privsec.core.target import Target
from privsec.targets.answers import FLOOR, GRANTS, Answers, TargetError, check_kind, read

Predict = Callable[[np.ndarray], Any]
"""float32 [B, ...] -> the answers to these records, as `Answers` has them."""
PullBack = Callable[[np.ndarray, np.ndarray], Any]
"""(x float32 [B, ...], c float32 [B, C]) -> the gradient of sum(c * logits(x)) by x, [B, ...]."""
Ask = Callable[[int, np.ndarray], np.ndarray]
"""(which model, float32 [B, ...]) -> float32 [B, C]."""
Pull = Callable[[int, np.ndarray, np.ndarray], np.ndarray]
"""`PullBack` of one model of several."""


def from_callable(
    predict: Predict | Sequence[Predict],
    *,
    num_classes: int,
    shape: Sequence[int],
    answers: Answers = "probabilities",
    batch_size: int = 4096,
    budget: int | None = None,
    grants: Access | None = None,
    floor: float = FLOOR,
    pull_back: PullBack | Sequence[PullBack] | None = None,
) -> Target:
    """The Target of a function on NumPy arrays: the way in for any model at all.

    Every answer is checked. One thread at a time asks one function. The Target cannot be compiled. It can be
    differentiated where `pull_back` says how: `jax.grad` of a function of its answers then works, uncompiled, and
    GRADIENTS are granted. A gradient of one record is charged as one query, the answer on the way to it is not.

    Args:
        predict: float32 [B, ...] -> [B, C], or [B] labels; of two classes also [B] or [B, 1] for the second one. It
            may keep or change the array it gets. A list of functions makes a stack.
        num_classes: C.
        shape: shape of one record.
        answers: what `predict` returns. Logits are best, for they lose no digits. Probabilities do where only one
            class's is known: next to 1, float32 tells nothing finer than 6e-8, a margin of 16.6.
        batch_size: records of one call of `predict`, at most.
        budget: how many records may be asked about, over all models of a stack; None for no limit. A question is
            charged as a whole before `predict` is called.
        grants: the most that an attacker may ask, where that is less than the answers give (labels, scores or logits).
        floor: what a smaller probability is taken to be. For shares of votes (a forest of n trees, k neighbors), where
            zero only means "too few to be seen", something like 1 / (2 n) is more sensible than the default.
        pull_back: of a model that answers logits: (x [B, ...], c [B, C]) -> the gradient of sum(c * logits(x)) by x. A
            list for a stack.

    Raises:
        ConfigError: an argument is wrong.
        TargetError: when asked: the model raised an exception, or its answer is not what `answers` says.
        QueryBudgetExceeded: when asked: the budget does not suffice.

    >>> import numpy as np
    >>> target = from_callable(lambda x: 1 / (1 + np.exp(-x[:, 0])), num_classes=2, shape=(3,))
    >>> target.labels(np.eye(3, dtype=np.float32) - 0.5).tolist(), target.spent, target.grants.title
    ([1, 0, 0], 3, 'scores')
    """
    check_kind(answers)
    predicts, stacked = listed(predict)
    if not all(map(callable, predicts)):
        raise ConfigError(f"`predict` is a function from records to answers, or a list of them; got {predict!r}")
    if batch_size < 1 or num_classes < 2:
        raise ConfigError(f"batch_size is at least 1 and num_classes at least 2; got {batch_size} and {num_classes}")
    if not 0 < floor < 1:
        raise ConfigError(f"floor is a small probability such as 1e-6; got {floor}")
    pulls = [] if pull_back is None else listed(pull_back)[0]
    if pulls and (answers != "logits" or len(pulls) != len(predicts)):
        raise ConfigError(
            f"`pull_back` is for models that answer logits, one for each; got {len(pulls)} for {len(predicts)} "
            f"answering {answers.replace('_', '-')}"
        )
    locks = tuple(threading.Lock() for _ in predicts)

    def ask(which: int, x: np.ndarray) -> np.ndarray:
        parts = []
        for start in range(0, len(x), batch_size):
            # A copy: the function may write into it, and not every library takes a read-only array.
            batch = np.array(x[start : start + batch_size])
            with locks[which]:
                answer = _called(predicts[which], batch)
            parts.append(read(answer, answers, rows=len(batch), num_classes=num_classes, floor=floor, first=start))
        return np.concatenate(parts)

    def pull(which: int, x: np.ndarray, cotangent: np.ndarray) -> np.ndarray:
        parts = []
        for start in range(0, len(x), batch_size):
            batch, weights = (np.array(part[start : start + batch_size]) for part in (x, cotangent))
            with locks[which]:
                parts.append(np.asarray(_called(pulls[which], batch, weights), np.float32))
            if parts[-1].shape != batch.shape:
                raise TargetError(
                    f"the gradient by records of shape {list(batch.shape)} has shape {list(parts[-1].shape)}: "
                    "`pull_back` returns one number for each feature"
                )
        return np.concatenate(parts)

    granted = Access.GRADIENTS if pulls else GRANTS[answers]
    granted = granted if grants is None else granted & grants
    models = len(predicts) if stacked else None
    return _target(ask, models, num_classes, tuple(shape), Meter(budget), granted, pull if pulls else None)


def stack(targets: Sequence[Target]) -> Target:
    """One stacked Target of several, in their order; a stack among them adds all of its models.

    So reference models that were trained one by one become the references of an attack.

    Args:
        targets: all in JAX and of one structure (the weights are stacked), or all outside of JAX (each is asked in
            turn, and charged on its own meter too). The same output defenses; what all of them grant is granted.

    Raises:
        TargetError: they do not fit together.

    >>> from_zero = from_callable(lambda x: np.zeros(len(x)), num_classes=2, shape=(3,), answers="labels")
    >>> stack([from_zero, from_zero]).labels(np.zeros((1, 3), np.float32)).tolist()
    [[0], [0]]
    """
    singles = [
        one
        for target in targets
        for one in ([target] if target.size is None else map(target.__getitem__, range(target.size)))
    ]
    if not singles:
        raise TargetError("there is nothing to stack: give at least one Target")
    first = singles[0]
    for one in singles[1:]:
        _check_fits(first, one)
    grants = functools.reduce(operator.and_, (one.grants for one in singles))
    if first.model.meter:

        def ask(which: int, x: np.ndarray) -> np.ndarray:
            return np.asarray(singles[which].model.apply(singles[which]._params, jnp.asarray(x)))

        def pull(which: int, x: np.ndarray, cotangent: np.ndarray) -> np.ndarray:
            one = singles[which]
            _, pull_back = jax.vjp(lambda records: one.model.apply(one._params, records), jnp.asarray(x))
            return np.asarray(pull_back(jnp.asarray(cotangent))[0])

        gives = pull if all(one.model.differentiable for one in singles) else None
        asked = _target(ask, len(singles), first.model.num_classes, first.model.shape, Meter(), grants, gives)
        model, params = replace(asked.model, rejects=first.model.rejects), asked._params
    else:
        model = first.model
        params = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(one._params for one in singles))
    secret = jnp.stack([one._secret for one in singles])
    return Target.of(model, params, secret, first.outputs, grants=grants)


def listed(given: Any) -> tuple[list[Any], bool]:
    """The models given, and whether they were given as a list, which makes a stack.

    Raises:
        ConfigError: the list is empty.
    """
    if not isinstance(given, (list, tuple)):
        return [given], False
    if not given:
        raise ConfigError("the list of models is empty: give at least one")
    return list(given), True


def _target(
    ask: Ask,
    models: int | None,
    num_classes: int,
    shape: tuple[int, ...],
    meter: Meter,
    grants: Access,
    pull: Pull | None = None,
) -> Target:
    """The Target of `ask`, differentiable where there is a `pull`."""

    def records_of(x: jax.Array) -> np.ndarray:
        if isinstance(x, Tracer):
            raise _untraceable(pull is not None)
        records = np.asarray(x, np.float32)
        if records.shape[1:] != shape:
            raise TargetError(f"this model takes records of shape {list(shape)}; got {list(records.shape[1:])}")
        return records

    def answer(which: int, x: jax.Array) -> jax.Array:
        records = records_of(x)
        return jnp.asarray(ask(which, records)) if len(records) else jnp.zeros((0, num_classes))

    def answer_charged(which: int, x: jax.Array) -> jax.Array:
        meter.charge(len(records_of(x)))
        return answer(which, x)

    def gradient_charged(which: int, x: jax.Array, cotangent: jax.Array) -> tuple[jax.Array]:
        assert pull is not None
        records = records_of(x)
        if isinstance(cotangent, Tracer):
            raise _untraceable(True)
        if not len(records):
            return (jnp.zeros_like(x),)
        meter.charge(len(records))
        return (jnp.asarray(pull(which, records, np.asarray(cotangent)), x.dtype),)

    differentiable = jax.custom_vjp(answer_charged, nondiff_argnums=(0,))
    differentiable.defvjp(lambda which, x: (answer(which, x), x), gradient_charged)

    def apply(params: Params, x: jax.Array) -> jax.Array:
        if isinstance(params, Tracer) or (pull is None and isinstance(x, Tracer)):
            raise _untraceable(pull is not None)
        return answer_charged(int(params), x) if pull is None else differentiable(int(params), x)

    model = Model(
        lambda key: jnp.zeros((), jnp.int32), apply, num_classes, shape, meter=meter, differentiable=pull is not None
    )
    params = jnp.zeros((), jnp.int32) if models is None else jnp.arange(models, dtype=jnp.int32)
    return Target.of(model, params, grants=grants)


def _untraceable(differentiable: bool) -> AccessError:
    if differentiable:
        return AccessError(
            "this model answers outside of JAX: it cannot be compiled. Use privsec.core.target.compiled in place of "
            "jax.jit, jax.grad outside of it, and batches in place of jax.vmap."
        )
    return AccessError(
        "this model answers outside of JAX: it can be neither compiled nor differentiated. Use attacks that need "
        "labels, scores or logits only, and privsec.core.target.compiled in place of jax.jit."
    )


def _called(function: Callable, batch: np.ndarray, *further: np.ndarray) -> Any:
    try:
        return function(batch, *further)
    except PrivsecError:
        raise
    except Exception as error:
        raise TargetError(
            f"the model raised {type(error).__name__} when asked about {len(batch)} records of shape "
            f"{list(batch.shape[1:])}: {error}"
        ) from error


def _check_fits(first: Target, other: Target) -> None:
    if bool(first.model.meter) != bool(other.model.meter):
        raise TargetError("models in JAX and models outside of JAX cannot be stacked: make them all one or the other")
    ours, theirs = ((one.model.num_classes, one.model.shape) for one in (first, other))
    if ours != theirs:
        raise TargetError(f"models of one stack take the same records and classes; got {ours} and {theirs}")
    if first.outputs != other.outputs:
        raise TargetError("models of one stack stand behind the same output defenses")
    if not first.model.meter and first.model is not other.model:
        raise TargetError(
            "these models are built differently, so their weights cannot be stacked. Build them by the same code (an "
            "activation that is a new lambda each time counts as different), or give each as a function to "
            "from_callable."
        )
