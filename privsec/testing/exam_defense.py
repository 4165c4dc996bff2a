"""What every defense has to pass: it acts at its stage only, can be switched off, and leaves a useful model."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from types import ModuleType

from privsec.core.defense import DataDefense, Defense, ModelDefense, OutputDefense, TrainingDefense
from privsec.core.spec import SpecError
from privsec.testing import exam_data_defense, exam_model_defense, exam_output_defense, exam_training_defense
from privsec.testing.exam import Check, cites, examine, is_documented, is_its_config, require
from privsec.testing.exam_model_defense import adapted, composition, false_alarms
from privsec.testing.exam_output_defense import leaves
from privsec.testing.exam_training_defense import privacy

STAGES: Mapping[type[Defense], ModuleType] = {
    DataDefense: exam_data_defense,
    TrainingDefense: exam_training_defense,
    ModelDefense: exam_model_defense,
    OutputDefense: exam_output_defense,
}
"""What is asked of a defense of each stage."""
FLOOR = 0.7
"""Accuracy that four well-separated classes must keep; guessing gets a quarter."""
OFF = (0, None, math.inf, 1)
"""Values of a field that may switch a defense off."""


def examine_defense(defense: Defense, *, off: Defense | None = None, skip: Iterable[str] = ()) -> None:
    """Holds a defense against everything that privsec expects of one; takes seconds.

    Args:
        defense: the Spec at a mild strength, for example `Rounding(decimals=2)`.
        off: the same defense at strength zero; found where one field at 0, 1, null or infinity does it.
        skip: names of `DEFENSE_CHECKS` that do not apply.

    Raises:
        AssertionError: which requirements it misses, and what to do.

    >>> from privsec.defenses.outputs.temperature import Temperature
    >>> examine_defense(Temperature())
    """
    if off is not None:
        require(_of_stage(off).changes_nothing(off), f"{off!r} is not the identity")
        skip = {*skip, "identity"}
    examine(defense, DEFENSE_CHECKS, skip)


def config(defense: Defense) -> None:
    """A defense is its config."""
    is_its_config(defense)


def declaration(defense: Defense) -> None:
    """A defense acts at one stage and cites its paper."""
    is_documented(defense)
    cites(getattr(defense, "paper", None))
    require(
        sum(isinstance(defense, kind) for kind in STAGES) == 1,
        "derive from DataDefense, TrainingDefense, ModelDefense or OutputDefense, the class of its stage",
    )


def stage(defense: Defense) -> None:
    """A defense gives back what its stage works on, and changes nothing else."""
    _of_stage(defense).keeps_to_its_stage(defense)


def identity(defense: Defense) -> None:
    """At strength zero a defense is the identity."""
    if set(type(defense).model_fields) == {"name"}:
        return  # no strength: it is there or not
    require(
        any(_of_stage(defense).changes_nothing(candidate) for candidate in _switched_off(defense)),
        f"no field at {', '.join(map(str, OFF))} makes it the identity (everything kept and no model trained to find "
        "that out, the same Recipe or Model object, or equal answers): let one do so, or pass the strength-zero Spec "
        "as `off`",
    )


def distribution(defense: Defense) -> None:
    """An answer is finite, a distribution over the classes, and equal compiled or not, alone or in a batch."""
    if not isinstance(defense, TrainingDefense):
        _of_stage(defense).distribution(defense)


def repetition(defense: Defense) -> None:
    """An answer hangs on the query and a key alone: not on its place in a batch, on the time or on other queries."""
    if not isinstance(defense, TrainingDefense):
        _of_stage(defense).repetition(defense)


def utility(defense: Defense) -> None:
    """A model under the defense still tells well-separated classes apart."""
    accuracy = _of_stage(defense).accuracy(defense)
    require(
        accuracy >= FLOOR,
        f"accuracy on well-separated classes falls to {accuracy:.2f}, below {FLOOR}: examine it at a mild strength",
    )


def _switched_off(defense: Defense) -> Iterator[Defense]:
    for name in type(defense).model_fields:
        for value in OFF:
            try:
                yield type(defense)(**{**defense.to_json(), name: value})
            except SpecError:
                continue


def _of_stage(defense: Defense) -> ModuleType:
    return next(module for kind, module in STAGES.items() if isinstance(defense, kind))


DEFENSE_CHECKS: Mapping[str, Check[Defense]] = {
    check.__name__: check
    for check in (
        config,
        declaration,
        stage,
        identity,
        privacy,
        distribution,
        repetition,
        leaves,
        adapted,
        false_alarms,
        composition,
        utility,
    )
}
"""The requirements by name, cheap ones first."""
