"""From an Experiment to what has to be computed. Nothing is loaded, trained or attacked; the data file is hashed."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from privsec import __version__
from privsec.attacks.inversion.class_inversion import ClassInversion
from privsec.core.access import Access
from privsec.core.attack import Attack
from privsec.core.defense import DataDefense, ModelDefense, OutputDefense, TrainingDefense, granted_behind
from privsec.core.errors import ConfigError
from privsec.core.recipe import Model, Recipe
from privsec.defenses.training.dp_sgd import DPSGD
from privsec.defenses.training.partition_aggregation import PartitionAggregation
from privsec.runner.config import Experiment, load

FEWEST_MODELS = 4
"""With fewer, a target that leaves out itself and its twin has no pair of references."""


@dataclass(frozen=True)
class Bank:
    """One population of models: everything that decides their parameters, and nothing else.

    Cells whose defenses differ only after the training share a bank, and so do runs that differ in attacks or in the
    number of models: `digest` names the models, so that more of them can be added later.
    """

    experiment: Experiment
    fingerprint: str
    seed: int
    defenses: tuple[TrainingDefense, ...]
    curation: tuple[DataDefense, ...] = ()
    attack: Attack | None = None
    """Who tampers with the records before the training."""

    @functools.cached_property
    def digest(self) -> str:
        """Sixteen hex digits."""
        e = self.experiment
        specs = (e.data, e.net, e.training, *self.defenses, *self.curation, *filter(None, [self.attack]))
        drawn = [e.population.size] if e.population.by == "record" else [e.population.size, e.population.by]
        return _digest(__version__, self.fingerprint, self.seed, *drawn, *(spec.digest for spec in specs))

    @property
    def title(self) -> str:
        """What the models are trained under, for a person."""
        named = " + ".join(d.name for d in (*self.curation, *self.defenses)) or "no defense"  # type: ignore[attr-defined]
        return f"{named}, after {self.attack.title}" if self.attack else named

    @property
    def clean(self) -> Bank:
        """The same without an attacker: what is attacked before the training is planned with its models at hand."""
        return replace(self, attack=None)

    @property
    def records(self) -> int:
        """How many records each model is given."""
        return self.experiment.population.size + (self.attack.added if self.attack else 0)

    @functools.cached_property
    def recipe(self) -> Recipe:
        """How its models are trained; calibrates noise where a defense asks for a privacy budget.

        Raises:
            ConfigError: the defenses do not compose.
        """
        recipe = self.experiment.training.recipe(self.records)
        names = " and ".join(d.name for d in self.curation)  # type: ignore[attr-defined]
        if names and any(isinstance(d, DPSGD) for d in self.defenses):
            raise ConfigError(
                f"{names} and dp_sgd in one list: which records are trained on then hangs on all of them, so the noise "
                "no longer hides one and the guarantee breaks. Leave one of the two out."
            )
        if names and any(isinstance(d, PartitionAggregation) and d.partitions > 1 for d in self.defenses):
            raise ConfigError(
                f"{names} and partition_aggregation in one list: which records a member is trained on then hangs on "
                "all of them, so one record may change every vote and the certificate breaks. Leave one of the two out."
            )
        return functools.reduce(lambda made, defense: defense.on_recipe(made), self.defenses, recipe)

    def model(self, bare: Model) -> Model:
        """The architecture that is trained: the bare one, as the training defenses change it."""
        return functools.reduce(lambda made, defense: defense.on_model(made), self.defenses, bare)

    @functools.cached_property
    def claim(self) -> Claim | None:
        """The privacy that the training claims; None where there is no guarantee."""
        event = self.recipe.dp_event
        if event is None:
            return None
        from privsec.privacy.accounting import epsilon

        delta = next(d.delta for d in self.defenses if isinstance(d, DPSGD))
        return Claim(epsilon(event, delta), delta)


class Claim(NamedTuple):
    """(epsilon, delta)-differential privacy for adding or removing one record."""

    epsilon: float
    delta: float


@dataclass(frozen=True)
class Cell:
    """One entry of the table for one seed: an attack against a defense, or a defense's utility (attack None).

    `reason` says why the cell cannot be computed, and is empty where it can.
    """

    bank: Bank
    defense: str
    guards: tuple[ModelDefense, ...]
    outputs: tuple[OutputDefense, ...]
    attack: Attack | None
    reason: str = ""
    control: Bank | None = None
    """The bank that the null of an attack before the training is measured on."""

    @property
    def seed(self) -> int:
        return self.bank.seed

    @property
    def title(self) -> str:
        """The attack's label; empty for utility."""
        return self.attack.title if self.attack else ""

    @functools.cached_property
    def digest(self) -> str:
        """Names the cell's numbers: a finished cell with this digest is never computed again."""
        parts = [self.attack.digest] if self.attack else ["utility", "groups"]
        parts += [defense.digest for defense in (*self.guards, *self.outputs)]
        population = self.bank.experiment.population
        if self.attack and ("points" in self.attack.requires or self.attack.tampers):
            parts.append(str(population.points))
        return _digest(self.bank.digest, population.models, self.defense, self.title, *parts)


@dataclass(frozen=True)
class Plan:
    """Banks to train and cells to fill, in the order in which they are worked off."""

    experiment: Experiment
    banks: tuple[Bank, ...]
    cells: tuple[Cell, ...]


def plan(source: str | Path | dict[str, Any] | Experiment) -> Plan:
    """What an experiment asks for: trainings shared wherever the models are equal, and every cell of the table.

    Args:
        source: a config file, its values, or an Experiment.

    Raises:
        ConfigError: a list of defenses does not compose, or does not fit the training.
        DataError: the data set's file is missing.
    """
    experiment = load(source)
    fingerprint = experiment.data.fingerprint
    banks: dict[str, Bank] = {}
    cells = []
    for seed in experiment.seeds:
        for name, defenses in experiment.defenses.items():
            training = tuple(d for d in defenses if isinstance(d, TrainingDefense))
            curation = tuple(d for d in defenses if isinstance(d, DataDefense))

            def bank_under(
                attack: Attack | None, seed: int = seed, training: tuple = training, curation: tuple = curation
            ) -> Bank:
                made = Bank(experiment, fingerprint, seed, training, curation, attack)
                return banks.setdefault(made.digest, made)

            bank = bank_under(None)
            guards = tuple(d for d in defenses if isinstance(d, ModelDefense))
            outputs = tuple(d for d in defenses if isinstance(d, OutputDefense))
            cells.append(Cell(bank, name, guards, outputs, None))
            for attack in experiment.attacks:
                obstacle, under, control = _obstacle(experiment, outputs, attack), bank, None
                if attack.tampers and not obstacle:
                    control = bank_under(attack.control)
                    under = bank_under(attack)
                cells.append(Cell(under, name, guards, outputs, attack, obstacle, control))
    for bank in banks.values():
        _ = bank.recipe  # composes the defenses now: a list that cannot work is found before anything is trained
    return Plan(experiment, tuple(banks.values()), tuple(cells))


def family_of(cell: Cell) -> str:
    """The family whose measures fill the cell."""
    return cell.attack.family if cell.attack else "utility"


def holds_model(attack: Attack) -> bool:
    """Whether the attacker has the model itself, or saw it learn, so that output defenses do not stand in the way."""
    return Access.GRADIENTS in attack.needs or Access.UPDATES in attack.needs


def _obstacle(experiment: Experiment, outputs: tuple[OutputDefense, ...], attack: Attack) -> str:
    """Why this attack cannot meet these output defenses in this threat model; empty when it can."""
    if experiment.population.by == "class" and not isinstance(attack, ClassInversion):
        return "population.by is class, and only class inversion asks about whole classes: write by: record"
    watched = experiment.training.checkpoints or "updates" in attack.requires
    granted = experiment.granted | (Access.UPDATES if watched else Access.NONE)
    if Access.UPDATES in attack.needs and Access.UPDATES not in granted:
        return "needs models from earlier in the training, and none is kept: set training.checkpoints (4, say)"
    if attack.needs not in granted:
        return f"needs {attack.needs.title}; the experiment grants {experiment.access}"
    if not holds_model(attack) and attack.needs not in (left := granted_behind(outputs)):
        behind = " and ".join(d.name for d in outputs if attack.needs not in d.leaves)  # type: ignore[attr-defined]
        return f"needs {attack.needs.title}; {behind} leaves {left.title}"
    if "references" in attack.requires and experiment.population.models < FEWEST_MODELS:
        return f"needs reference models: write population.models of at least {FEWEST_MODELS}"
    return ""


def _digest(*parts: object) -> str:
    return hashlib.sha256("/".join(map(str, parts)).encode()).hexdigest()[:16]
