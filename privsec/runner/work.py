"""One execution of a Plan, in one process: what there is to compute, and the means to do it."""

from __future__ import annotations

from collections.abc import Iterator

from privsec.runner.banks import Banks
from privsec.runner.cells import Cells
from privsec.runner.plan import Bank, Cell, Plan
from privsec.runner.progress import Narrator
from privsec.runner.stages import Stages
from privsec.runner.store import Store


class Work:
    """Holds what is computed once and used by many cells."""

    def __init__(self, made: Plan, store: Store, narrator: Narrator) -> None:
        self.plan, self.store, self.narrator = made, store, narrator
        self.stages = Stages()
        self.banks = Banks(made, store, narrator, self.stages)
        self.cells = Cells(self.banks, self.stages)

    def draw(self, todo: list[Cell]) -> bool:
        """Draws every seed's split where one of these cells needs data: too few records stop everything at once."""
        drawn = any(not cell.reason for cell in todo)
        for seed in self.plan.experiment.seeds if drawn else ():
            self.banks.world(seed)
        return drawn

    def by_bank(self, todo: list[Cell]) -> Iterator[Cell]:
        """The cells, all of one bank after the other, so that only one bank's models are in memory."""
        for bank in self.plan.banks:
            yield from (cell for cell in todo if cell.bank.digest == bank.digest)
            self.banks.forget()

    def needed(self, todo: list[Cell]) -> list[Bank]:
        """The banks that these cells are filled from, clean ones first: an attacker may plan with their models."""
        meant = [bank for cell in todo if not cell.reason for bank in (cell.bank, cell.control) if bank]
        meant += [bank.clean for bank in meant if bank.attack and self.store.load_poison(bank) is None]
        digests = {bank.digest for bank in meant}
        return sorted((b for b in self.plan.banks if b.digest in digests), key=lambda bank: bank.attack is not None)
