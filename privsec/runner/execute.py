"""The order of things: data, training, targets, attacks, judgement, table. The only file that knows it."""

from __future__ import annotations

import functools
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from privsec.attacks.inversion.class_inversion import ClassInversion
from privsec.core import axis, keys
from privsec.core.access import Access
from privsec.core.attack import Attack, Knowledge
from privsec.core.data import Dataset, Examples
from privsec.core.defense import Cleaned, ModelDefense
from privsec.core.errors import NotApplicable, PrivsecError
from privsec.core.evidence import Evidence
from privsec.core.recipe import Model, Params
from privsec.core.target import Target, compiled
from privsec.runner import evaluators, judge, lineage, observed, provenance
from privsec.runner.case import Case, Judgement, Tampered
from privsec.runner.config import Experiment
from privsec.runner.judging import utility
from privsec.runner.mixture import Mixture, cleaned, mixed
from privsec.runner.plan import Bank, Cell, Plan, family_of, holds_model, plan
from privsec.runner.progress import Narrator
from privsec.runner.results import CellResult, Results
from privsec.runner.slices import slices_of
from privsec.runner.stages import Stages
from privsec.runner.store import Kept, Store
from privsec.runner.table import table_of
from privsec.runner.world import World
from privsec.training import many
from privsec.training.stacks import Stack

PROFILE = "profile"
"""Where a run folder has its profiles."""


def run(
    source: str | Path | dict[str, Any] | Experiment,
    *,
    out: str | Path = "runs",
    fresh: bool = False,
    profile: bool = False,
    narrator: Narrator | None = None,
) -> Results:
    """Runs an experiment to its table; what an earlier run of it finished is not computed again.

    Args:
        source: a config file (YAML, TOML, JSON), its values, or an Experiment.
        out: the folder that holds run folders and the bank of models.
        fresh: forget finished models and cells of this experiment first.
        profile: let JAX's profiler write what the devices do to `profile/` in the run folder.
        narrator: shows progress; by default on stderr where that is a terminal.

    Returns:
        The Results, with `.table` (a DataFrame), `.record`, `.cells` and `.report()`. Cells that failed are in it, each
        with its reason (`Results.failed`).

    Raises:
        ConfigError: the config is wrong; nothing was computed.
        DataError: the data set is missing, malformed or too small; nothing was computed.
    """
    provenance.enable_compilation_cache()
    made = plan(source)
    store = Store(made.experiment, Path(out))
    with narrator or Narrator() as shown, store.alone(lambda: shown.warn(f"{store.folder} is in use: waiting for it")):
        if fresh:
            store.forget(made.banks)
        try:
            ongoing = _Run(made, store, shown)
            with ongoing.stages.watched(store.folder / PROFILE if profile else None):
                return ongoing.work()
        finally:
            store.leave_no_empty_folder()


class _Run:
    """One execution of a Plan. Holds what is computed once and used by many cells."""

    def __init__(self, made: Plan, store: Store, narrator: Narrator) -> None:
        self.plan, self.store, self.narrator = made, store, narrator
        self.experiment = made.experiment
        self.stages = Stages()
        self._timed = self.stages.timed
        self.facts: dict[str, Any] = {}
        self._world = functools.cache(self._make_world)
        self._mixture = functools.cache(self._make_mixture)
        self._bank = functools.cache(self._make_bank)
        self._target = functools.cache(self._make_target)
        self._evaluators = functools.cache(self._make_evaluators)

    def work(self) -> Results:
        """Fills every cell that is not filled yet, bank by bank, and writes the table."""
        results = {cell.digest: self.store.load_cell(cell) for cell in self.plan.cells}
        todo = [cell for cell in self.plan.cells if results[cell.digest] is None]
        if drawn := any(not cell.reason for cell in todo):
            for seed in self.experiment.seeds:  # every seed's split is drawn first: too few records stop everything
                self._world(seed)
        total, done = len(self.plan.cells), len(self.plan.cells) - len(todo)
        for cell in self.narrator.follow("cells", self._in_bank_order(todo), total, done):
            results[cell.digest] = self._fill(cell)
        finished = [(cell, result) for cell in self.plan.cells if (result := results[cell.digest])]
        cells = [result for _, result in finished]
        if drawn:
            worlds = {seed: self._world(seed) for seed in self.experiment.seeds}
            with self._timed("data"):
                self.facts["data"] = provenance.data_facts(self._dataset, worlds[self.experiment.seeds[-1]])
            self.facts["lineage"] = lineage.write(self.store, worlds, self.plan.cells)
        record = provenance.record(self.experiment, self.store.folder, self.stages, self.facts)
        said = record.get("data", {})
        slices = slices_of(self.experiment, cells, said.get("class_names", ()), said.get("group_names"))
        return self.store.save_run(finished, table_of(self.experiment, cells), slices, record)

    def _in_bank_order(self, todo: list[Cell]) -> Iterator[Cell]:
        """The cells, all of one bank after the other, so that only one bank's models are in memory."""
        for bank in self.plan.banks:
            yield from (cell for cell in todo if cell.bank.digest == bank.digest)
            self._mixture.cache_clear()
            self._bank.cache_clear()
            self._target.cache_clear()

    # What many cells share.

    @functools.cached_property
    def _dataset(self) -> Dataset:
        with self._timed("data"):
            dataset = self.experiment.data.load()
        self.experiment.net.check(dataset.shape)
        return dataset

    def _make_world(self, seed: int) -> World:
        with self._timed("data"):
            return World.of(self.experiment, self._dataset, seed)

    def _bank_of(self, digest: str) -> Bank:
        return next(bank for bank in self.plan.banks if bank.digest == digest)

    def _make_mixture(self, digest: str) -> Mixture:
        """The records of one bank, with what an attacker put among them."""
        bank = self._bank_of(digest)
        world, attack = self._world(bank.seed), bank.attack
        if attack is None:
            return mixed(world.candidates, world.member, None, bank.records)
        poison = self.store.load_poison(bank)
        if poison is None:
            with self._timed("poison"):
                clean = Bank(bank.experiment, bank.fingerprint, bank.seed, bank.defenses, bank.curation)
                target = self._target(clean.digest, (), (), bank.seed)
                known = world.knowledge(attack, target.restrict(Access.WEIGHTS))
                key = keys.derive(world.root, "tamper", (attack.control or attack).digest)  # one null, the same records
                poison = attack.tamper(world.candidates, known, key)
            if poison is not None:
                self.store.save_poison(bank, poison)
        return mixed(world.candidates, world.member, poison, bank.records)

    def _make_bank(self, digest: str) -> Kept:
        """All models of one bank, trained where they were not yet; every leaf has a leading [M]."""
        bank = self._bank_of(digest)
        world, count = self._world(bank.seed), self.experiment.population.models
        model, root = bank.model(world.model), keys.derive(world.root, "training")

        def train(missing: list[int]) -> Iterable[tuple[int, Kept]]:
            mixture = self._mixture(digest)
            what = f"training ({bank.title}, seed {bank.seed})"
            curated = self._curated(bank, mixture, missing)
            trained = many.train_many(
                model,
                bank.recipe,
                mixture.data,
                mixture.include,
                root,
                models=missing,
                holdout=world.holdout,
                cleaned=curated,
                placement=self.experiment.training.placement,
            )
            for m, one in self.narrator.follow(what, trained, count, count - len(missing)):
                yield m, Kept(one.params, one.checkpoints, curated[m] if curated else None)

        names = [f"model-{m:05d}" for m in range(count)]
        models = self._kept(bank, model, names, train, bank.recipe.checkpoints)
        if not models.finite:
            raise PrivsecError("training diverged: parameters are not finite. Lower the learning rate or the noise.")
        return models.whole

    def _curated(self, bank: Bank, mixture: Mixture, models: list[int]) -> dict[int, Cleaned] | None:
        """What each of these models is trained on, once its defender looked; None for what it was given, as it is."""
        if not bank.curation:
            return None if mixture.untouched else {m: mixture.cleaned(m) for m in models}
        world = self._world(bank.seed)
        recipe = self.experiment.training.recipe(bank.records)

        def one(m: int) -> Cleaned:
            key = keys.derive(world.root, "cleaning", m)
            return cleaned(bank.curation, world.model, recipe, mixture, m, world.holdout, key)

        with self._timed("cleaning"):
            what = f"cleaning ({bank.title}, seed {bank.seed})"
            return dict(self.narrator.follow(what, axis.over_models(one, models), len(models), 0))

    def _make_target(self, bank_digest: str, guards: tuple[ModelDefense, ...], outputs: tuple, seed: int) -> Target:
        """The bank's models under these defenses, with their answers to the shared records remembered."""
        world, bank = self._world(seed), self._bank_of(bank_digest)
        secrets = jax.random.split(keys.derive(world.root, "outputs"), self.experiment.population.models)
        params, history, _ = self._bank(bank_digest)
        checkpoints = many.checkpoints(history)
        model = bank.model(world.model)
        with self._timed("defenses"):
            for position, guard in enumerate(guards):
                key = keys.derive(world.root, "guard", position, guard.digest)
                params, *checkpoints = (
                    _guarded(guard, model, each, world.holdout, key, self.store.bank) for each in (params, *checkpoints)
                )
                model = guard.on_model(model)
            outputs = tuple(defense.fitted(world.holdout) for defense in outputs)
        served = Target.of(model, params, secrets, outputs, checkpoints=checkpoints).as_its_users()
        with self._timed("answers"):
            known = served.record(world.candidates)
            shared = any(attack.family == "membership" for attack in self.experiment.attacks)
            return known.record(world.population) if shared else known

    def _make_evaluators(self, seed: int) -> Target:
        """The independent classifiers of a seed, for reconstructions."""
        world, bank = self._world(seed), replace(self.plan.banks[0], seed=seed, defenses=())

        def train(missing: list[int]) -> Iterable[tuple[int, Kept]]:
            made = evaluators.train(world)
            return ((i, Kept(made[i])) for i in missing)

        models = self._kept(bank, world.model, ["evaluator-0", "evaluator-1"], train)
        return Target.of(world.model, models.whole.params).record(world.candidates)

    def _kept(
        self,
        bank: Bank,
        model: Model,
        names: list[str],
        train: Callable[[list[int]], Iterable[tuple[int, Kept]]],
        checkpoints: int = 0,
    ) -> Stack:
        """The named models of a bank: read where they are finished, trained and kept where they are not."""
        found, missing = Stack(len(names), self.store.bank), []
        with self.store.training(bank, lambda: self.narrator.warn("another run trains these models: waiting for it")):
            for i, name in enumerate(names):
                if (kept := self.store.load_model(bank, name, model, checkpoints)) is None:
                    missing.append(i)
                else:
                    found.put(i, kept)
            with self._timed("training"):
                for i, kept in train(missing) if missing else ():
                    found.put(i, kept)
                    try:
                        self.store.save_model(bank, names[i], kept)
                    except OSError as error:
                        self.narrator.warn(f"{names[i]} could not be kept ({error.strerror}): it will be trained again")
        return found

    # One cell.

    def _fill(self, cell: Cell) -> CellResult:
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
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
            result = self._result(cell, "failed", reason, facts={"traceback": traceback.format_exc()})
            self.narrator.warn(f"{cell.defense} x {cell.title or 'utility'}, seed {cell.seed}: {reason}")
        try:
            return self.store.save_cell(cell, result, {})
        except OSError as error:
            return self._result(cell, "failed", f"{result.reason}; could not be stored: {error.strerror}".strip("; "))

    def _utility(self, cell: Cell) -> Judgement:
        target = self._target(cell.bank.digest, cell.guards, cell.outputs, cell.seed)
        with self._timed("measures"):
            return utility.judged(target, self._world(cell.seed), cell.bank)

    def _attack(self, cell: Cell, attack: Attack) -> Judgement:
        if cell.reason:
            raise NotApplicable(cell.reason)
        world = self._world(cell.seed)
        outputs = () if holds_model(attack) else cell.outputs
        guards = () if "updates" in attack.requires else cell.guards
        target = self._target(cell.bank.digest, guards, outputs, cell.seed)
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
            lambda: self._evaluators(cell.seed),
            attacked,
            cell.bank,
            functools.partial(self._tampered, cell, outputs) if cell.control else None,
        )
        with self._timed("measures"):
            return judge.judge(evidence, case)

    def _tampered(self, cell: Cell, outputs: tuple) -> Tampered:
        """What the judges of an attack before the training look at beside its target."""
        assert cell.control is not None
        control = self._target(cell.control.digest, cell.guards, outputs, cell.seed)
        mixture, spared = self._mixture(cell.bank.digest), self._mixture(cell.control.digest)
        return Tampered(control, mixture, spared, self._bank(cell.bank.digest).cleaned)

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


def _guarded(
    guard: ModelDefense, model: Model, params: Params, public: Examples, key: jax.Array, folder: Path
) -> Params:
    """A stack's parameters under a defense of the model, fitted model by model."""
    guarded = Stack(len(jax.tree.leaves(params)[0]), folder)
    for m in range(guarded.count):
        one = jax.tree.map(lambda leaf, m=m: jnp.asarray(leaf[m]), params)
        guarded.put(m, guard.on_params(model, one, public, keys.derive(key, m)))
    return guarded.whole


def _evidence(attack: Attack, target: Target, knowledge: Knowledge, key: jax.Array) -> Evidence:
    """The attack's evidence; a traceable attack is compiled, once for equal Specs and shapes."""
    if not attack.traceable:
        return attack.run(target, knowledge, key)
    if isinstance(attack, ClassInversion):
        target = attack.attacked(target)  # a program's arguments are in memory: none but the models it attacks
    return _traced(target, attack, knowledge, key)


@functools.partial(compiled, static=("attack",))
def _traced(target: Target, attack: Attack, knowledge: Knowledge, key: jax.Array) -> Evidence:
    return attack.run(target, knowledge, key)
