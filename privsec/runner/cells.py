"""One cell: the attack meets its Target, the judge says how it went; whatever goes wrong is a reason in the table."""

from __future__ import annotations

import functools
import time
import traceback
from dataclasses import replace
from typing import Any

import jax
import numpy as np

from privsec.core import keys
from privsec.core.access import Access
from privsec.core.attack import Attack, Knowledge
from privsec.core.errors import NotApplicable
from privsec.core.evidence import Evidence
from privsec.core.target import Target, compiled
from privsec.runner import judge, observed
from privsec.runner.banks import Banks
from privsec.runner.case import Case, Judgement, Tampered
from privsec.runner.judging import utility
from privsec.runner.plan import Cell, family_of, holds_model
from privsec.runner.results import CellResult
from privsec.runner.stages import Stages


class Cells:
    """Fills cells from the banks."""

    def __init__(self, banks: Banks, stages: Stages) -> None:
        self.banks, self.store, self.narrator = banks, banks.store, banks.narrator
        self._timed = stages.timed

    def fill(self, cell: Cell) -> CellResult:
        """The cell's result: numbers, or the reason why there are none. Never raises for what one cell did wrong."""
        start = time.perf_counter()
        try:
            judgement = self._utility(cell) if cell.attack is None else self._attack(cell, cell.attack)
            judgement.facts["seconds"] = round(time.perf_counter() - start, 3)
            estimates = judge.estimates(judgement.per_target, judgement.facts)
            judge.check_certificate(estimates, cell.bank)
            result = self._result(cell, "ok", "", estimates, judgement.per_target, judgement.facts)
            return self.store.save_cell(cell, result, judgement.arrays)
        except NotApplicable as error:
            result = self._result(cell, "not_applicable", str(error))
        except Exception as error:
            return self.failed(cell, error)
        return self._without_numbers(cell, result)

    def failed(self, cell: Cell, error: Exception) -> CellResult:
        """The row of a cell that an error ended."""
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        told = {"traceback": "".join(traceback.format_exception(error))}
        self.narrator.warn(f"{cell.defense} x {cell.title or 'utility'}, seed {cell.seed}: {reason}")
        return self._without_numbers(cell, self._result(cell, "failed", reason, facts=told))

    def _without_numbers(self, cell: Cell, result: CellResult) -> CellResult:
        try:
            return self.store.save_cell(cell, result, {})
        except OSError as error:
            return self._result(cell, "failed", f"{result.reason}; could not be stored: {error.strerror}".strip("; "))

    def _utility(self, cell: Cell) -> Judgement:
        target = self.banks.target(cell.bank.digest, cell.guards, cell.outputs, cell.seed)
        with self._timed("measures"):
            return utility.judged(target, self.banks.world(cell.seed), cell.bank)

    def _attack(self, cell: Cell, attack: Attack) -> Judgement:
        if cell.reason:
            raise NotApplicable(cell.reason)
        world = self.banks.world(cell.seed)
        outputs = () if holds_model(attack) else cell.outputs
        guards = () if "updates" in attack.requires else cell.guards
        target = self.banks.target(cell.bank.digest, guards, outputs, cell.seed)
        seen = observed.updates(attack, cell.bank, world, target) if "updates" in attack.requires else None
        if seen is not None:
            target = replace(target, grants=target.grants | Access.UPDATES)
        knowledge = world.knowledge(attack, target.restrict(attack.needs), seen)
        key = keys.derive(world.root, "attack", attack.digest)

        def attacked(target: Target, known: Knowledge = knowledge) -> Evidence:
            with self._timed("attacks"):
                return _evidence(attack, target.restrict(attack.needs), known, key)

        client = target.as_new_client()  # what other attacks asked is not held against this one
        evidence = attacked(client)
        # Who reprograms a model goes on asking it; what others found is tried on whoever meets the model.
        target = client if attack.family == "reprogramming" else target
        case = Case(
            attack,
            target,
            world,
            knowledge,
            key,
            lambda: self.banks.evaluators(cell.seed),
            attacked,
            cell.bank,
            functools.partial(self._tampered, cell, outputs) if cell.control else None,
        )
        with self._timed("measures"):
            return judge.judge(evidence, case)

    def _tampered(self, cell: Cell, outputs: tuple) -> Tampered:
        """What the judges of an attack before the training look at beside its target."""
        assert cell.control is not None
        control = self.banks.target(cell.control.digest, cell.guards, outputs, cell.seed)
        mixture, spared = self.banks.mixture(cell.bank.digest), self.banks.mixture(cell.control.digest)
        return Tampered(control, mixture, spared, self.banks.models(cell.bank.digest).cleaned)

    def _result(
        self,
        cell: Cell,
        status: Any,
        reason: str,
        estimates: dict | None = None,
        per_target: dict[str, np.ndarray] | None = None,
        facts: dict[str, Any] | None = None,
    ) -> CellResult:
        return CellResult(
            seed=cell.seed,
            defense=cell.defense,
            attack=cell.title,
            family=family_of(cell),
            access=cell.attack.needs.title if cell.attack else "",
            status=status,
            reason=reason,
            estimates=estimates or {},
            per_target=per_target or {},
            facts=facts or {},
            path=None,
        )


def _evidence(attack: Attack, target: Target, knowledge: Knowledge, key: jax.Array) -> Evidence:
    """The attack's evidence; a traceable attack is compiled, once for equal Specs and shapes."""
    if not attack.traceable:
        return attack.run(target, knowledge, key)
    return _traced(attack.attacked(target), attack, knowledge, key)  # what a program is given is all in memory


@functools.partial(compiled, static=("attack",))
def _traced(target: Target, attack: Attack, knowledge: Knowledge, key: jax.Array) -> Evidence:
    return attack.run(target, knowledge, key)
