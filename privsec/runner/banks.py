"""What the cells of one bank share: records, mixture, trained models, Targets. Made once, kept while it is needed."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from privsec.core import axis, keys
from privsec.core.access import Access
from privsec.core.data import Dataset, Examples
from privsec.core.defense import Cleaned, ModelDefense
from privsec.core.errors import PrivsecError
from privsec.core.recipe import Model, Params
from privsec.core.target import Target
from privsec.runner import evaluators
from privsec.runner.mixture import Mixture, cleaned, mixed
from privsec.runner.plan import Bank, Plan
from privsec.runner.progress import Narrator
from privsec.runner.stages import Stages
from privsec.runner.store import Kept, Store, name_of
from privsec.runner.world import World
from privsec.training import many
from privsec.training.stacks import Stack


class Banks:
    """The banks of a plan. Whoever asks for models gets all of a bank's: read, or trained and kept."""

    def __init__(self, made: Plan, store: Store, narrator: Narrator, stages: Stages) -> None:
        self.plan, self.store, self.narrator = made, store, narrator
        self.experiment = made.experiment
        self._timed = stages.timed
        self.world = functools.cache(self._make_world)
        self.mixture = functools.cache(self._make_mixture)
        self.models = functools.cache(self._make_models)
        self.target = functools.cache(self._make_target)
        self.evaluators = functools.cache(self._make_evaluators)

    def forget(self) -> None:
        """Lets go of what belongs to one bank, so that only one bank's models are in memory."""
        for made in (self.mixture, self.models, self.target):
            made.cache_clear()

    @functools.cached_property
    def dataset(self) -> Dataset:
        """The records, before they are split."""
        with self._timed("data"):
            dataset = self.experiment.data.load()
        self.experiment.net.check(dataset.shape)
        return dataset

    def _make_world(self, seed: int) -> World:
        with self._timed("data"):
            return World.of(self.experiment, self.dataset, seed)

    def bank(self, digest: str) -> Bank:
        """The bank of that digest."""
        return next(bank for bank in self.plan.banks if bank.digest == digest)

    def _make_mixture(self, digest: str) -> Mixture:
        """The records of one bank, with what an attacker put among them."""
        bank = self.bank(digest)
        world, attack = self.world(bank.seed), bank.attack
        if attack is None:
            return mixed(world.candidates, world.member, None, bank.records)
        poison = self.store.load_poison(bank)
        if poison is None:
            with self._timed("poison"):
                target = self.target(bank.clean.digest, (), (), bank.seed)
                known = world.knowledge(attack, target.restrict(Access.WEIGHTS))
                key = keys.derive(world.root, "tamper", (attack.control or attack).digest)  # one null, the same records
                poison = attack.tamper(world.candidates, known, key)
            if poison is not None:
                self.store.save_poison(bank, poison)
        return mixed(world.candidates, world.member, poison, bank.records)

    def _make_models(self, digest: str) -> Kept:
        """All models of one bank, trained where they were not yet; every leaf has a leading [M]."""
        bank = self.bank(digest)
        names = [name_of(m) for m in range(self.experiment.population.models)]
        model = bank.model(self.world(bank.seed).model)
        models = self._kept(bank, model, names, functools.partial(self._trained, bank), bank.recipe.checkpoints)
        return models.whole

    def alone(self, bank: Bank) -> AbstractContextManager[None]:
        """Holds the bank's lock; the user is told where another run has it."""
        waits = f"another run trains these models ({bank.title}): waiting for it"
        return self.store.training(bank, lambda: self.narrator.warn(waits))

    def missing(self, bank: Bank) -> list[int]:
        """Which of a bank's models are not trained yet."""
        return [m for m in range(self.experiment.population.models) if not self.store.has_model(bank, name_of(m))]

    def fill(self, bank: Bank, models: list[int]) -> None:
        """Trains and keeps these models of a bank whose lock the caller, or the process that leads it, holds."""
        with self._timed("training"):
            for m, kept in self._trained(bank, models):
                self._keep(bank, name_of(m), kept)

    def _trained(self, bank: Bank, missing: list[int]) -> Iterator[tuple[int, Kept]]:
        world, count, mixture = self.world(bank.seed), self.experiment.population.models, self.mixture(bank.digest)
        curated = self._curated(bank, mixture, missing)
        trained = many.train_many(
            bank.model(world.model),
            bank.recipe,
            mixture.data,
            mixture.include,
            keys.derive(world.root, "training"),
            models=missing,
            holdout=world.holdout,
            cleaned=curated,
            placement=self.experiment.training.placement,
        )
        what = f"training ({bank.title}, seed {bank.seed})"
        for m, one in self.narrator.follow(what, trained, count, count - len(missing)):
            yield m, Kept(one.params, one.checkpoints, curated[m] if curated else None)

    def _curated(self, bank: Bank, mixture: Mixture, models: list[int]) -> dict[int, Cleaned] | None:
        """What each of these models is trained on, once its defender looked; None for what it was given, as it is."""
        if not bank.curation:
            return None if mixture.untouched else {m: mixture.cleaned(m) for m in models}
        world = self.world(bank.seed)
        recipe = self.experiment.training.recipe(bank.records)

        def one(m: int) -> Cleaned:
            key = keys.derive(world.root, "cleaning", m)
            return cleaned(bank.curation, world.model, recipe, mixture, m, world.holdout, key)

        with self._timed("cleaning"):
            what = f"cleaning ({bank.title}, seed {bank.seed})"
            return dict(self.narrator.follow(what, axis.over_models(one, models), len(models), 0))

    def _make_target(self, bank_digest: str, guards: tuple[ModelDefense, ...], outputs: tuple, seed: int) -> Target:
        """The bank's models under these defenses, with their answers to the shared records remembered."""
        world, bank = self.world(seed), self.bank(bank_digest)
        secrets = jax.random.split(keys.derive(world.root, "outputs"), self.experiment.population.models)
        params, history, _ = self.models(bank_digest)
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
        world, bank = self.world(seed), replace(self.plan.banks[0], seed=seed, defenses=())

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
        found, diverged = Stack(len(names), self.store.bank), set()

        def put(i: int, kept: Kept) -> None:
            found.put(i, kept)
            if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((kept.params, kept.checkpoints))):
                diverged.add(i)

        def reads(i: int) -> bool:
            kept = self.store.load_model(bank, names[i], model, checkpoints)
            if kept is not None:
                put(i, kept)
            return kept is not None

        missing = [i for i in range(len(names)) if not reads(i)]
        if missing:  # who finds everything there waits for nobody
            with self.alone(bank), self._timed("training"):
                missing = [i for i in missing if not reads(i)]
                for i, kept in train(missing) if missing else ():
                    put(i, kept)
                    self._keep(bank, names[i], kept)
        if diverged:
            raise PrivsecError("training diverged: parameters are not finite. Lower the learning rate or the noise.")
        return found

    def _keep(self, bank: Bank, name: str, kept: Kept) -> None:
        try:
            self.store.save_model(bank, name, kept)
        except OSError as error:
            self.narrator.warn(f"{name} could not be kept ({error.strerror}): it will be trained again")


def _guarded(
    guard: ModelDefense, model: Model, params: Params, public: Examples, key: jax.Array, folder: Path
) -> Params:
    """A stack's parameters under a defense of the model, fitted model by model."""
    guarded = Stack(len(jax.tree.leaves(params)[0]), folder)
    for m in range(guarded.count):
        one = jax.tree.map(lambda leaf, m=m: jnp.asarray(leaf[m]), params)
        guarded.put(m, guard.on_params(model, one, public, keys.derive(key, m)))
    return guarded.whole
