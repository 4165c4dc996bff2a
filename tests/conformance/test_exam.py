"""The exam itself: each requirement catches the mistake that it is there for."""

import functools
import itertools
from dataclasses import replace
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from privsec.attacks.evasion.fgsm import FGSM
from privsec.attacks.evasion.random_noise import RandomNoise
from privsec.attacks.membership.boundary import Boundary
from privsec.attacks.membership.lira import LiRA
from privsec.attacks.membership.loss import Loss
from privsec.attacks.poisoning.badnets import BadNets
from privsec.core.access import Access
from privsec.core.attack import Poison
from privsec.core.defense import Cleaned, DataDefense, ModelDefense, OutputDefense, TrainingDefense
from privsec.core.evidence import MembershipScores
from privsec.data.digits import Digits
from privsec.defenses.outputs.rounding import Rounding
from privsec.defenses.training.mixup import Mixed
from privsec.nets.base import Net
from privsec.nets.layers import Dense
from privsec.testing import ATTACK_CHECKS, DEFENSE_CHECKS, NET_CHECKS, SOURCE_CHECKS, examine_attack, examine_defense


class Careless(Loss):
    """The loss attack with a mistake."""


class Backwards(Careless):
    """The loss attack with the wrong sign."""

    def score(self, signal):
        return -signal


class Infinite(Careless):
    def score(self, signal):
        return np.where(signal > signal.mean(), np.inf, signal)


class Choosy(Careless):
    def score(self, signal):
        return np.where(signal > np.median(signal), signal, np.nan)


class Greedy(Careless):
    needs: ClassVar[Access] = Access.WEIGHTS


class Uncited(Careless):
    paper: ClassVar[str] = "somebody, somewhere"


class Undescribed(Careless):
    strength: float = 1.0


class Boastful(Careless):
    def run(self, target, knowledge, key):
        return super().run(target, knowledge, key)._replace(queries=50.0)


class Crashing(Careless):
    def run(self, target, knowledge, key):
        return MembershipScores(target.observe(knowledge.candidates, "margin"))


class Forgetful(Careless):
    calls: ClassVar = itertools.count()

    def score(self, signal):
        return signal + 1e-9 * next(self.calls)


class Eager(Careless):
    traceable: ClassVar[bool] = True

    def run(self, target, knowledge, key):
        return MembershipScores(np.asarray(target.log_scores(knowledge.candidates.x)[..., 0]))


class Stacked(Careless):
    def score(self, signal):
        return signal * (1.0 if len(signal) > 1 else np.nan)


class Modest(Boundary):
    """The boundary attack, counting one query for many."""

    def run(self, target, knowledge, key):
        return super().run(target, knowledge, key)._replace(queries=20.0)


class Peeking(LiRA):
    """LiRA with the target among its own references."""

    def run(self, target, knowledge, key):
        everyone = None if knowledge.usable is None else np.ones_like(knowledge.usable)
        everyone = None if everyone is None else everyone ^ np.eye(*everyone.shape, dtype=bool)
        return super().run(target, replace(knowledge, usable=everyone), key)


class Cheating(LiRA):
    """LiRA with a hint from the answer."""

    def run(self, target, knowledge, key):
        found = super().run(target, knowledge, key)
        return found._replace(scores=found.scores + 9.0 * np.asarray(knowledge.included)[: len(found.scores)])


class Restless(FGSM):
    """FGSM with a mistake in what it hands over."""

    def run(self, target, knowledge, key):
        return self.spoiled(super().run(target, knowledge, key))

    def spoiled(self, found):
        return found


class Swerving(Restless):
    def spoiled(self, found):
        return found._replace(x=1 - found.x)


class Escaping(Restless):
    def spoiled(self, found):
        return found._replace(x=found.x + np.float32(5.0))


class Relabeling(Restless):
    def spoiled(self, found):
        return found._replace(y=(found.y + 1) % 4)


class Frugal(RandomNoise):
    """Random noise that counts every other answer."""

    def run(self, target, knowledge, key):
        found = super().run(target, knowledge, key)
        return found._replace(queries=found.queries / 2)


@pytest.mark.parametrize(
    ("check", "attack"),
    [
        ("evidence", Swerving()),
        ("evidence", Escaping()),
        ("evidence", Relabeling()),
        ("power", Escaping()),
        ("queries", Frugal(trials=5)),
        ("power", Backwards()),
        ("evidence", Infinite()),
        ("evidence", Choosy()),
        ("access", Greedy()),
        ("declaration", Uncited()),
        ("declaration", Undescribed()),
        ("queries", Boastful()),
        ("queries", Modest(queries=200)),
        ("knowledge", Crashing()),
        ("reproducible", Forgetful()),
        ("compilation", Eager()),
        ("alone", Stacked()),
        ("leave_one_out", Peeking()),
        ("leave_one_out", Cheating()),
        ("null", Cheating()),
    ],
)
def test_a_careless_attack_is_told_so(check, attack):
    with pytest.raises((AssertionError, jax.errors.JAXTypeError)):
        ATTACK_CHECKS[check](attack)


def test_all_failures_are_told_at_once_and_a_check_can_be_skipped():
    with pytest.raises(
        AssertionError, match=r"(?s)fails 1 of 13.*\[power\] Where success is certain.*sign of the score"
    ):
        examine_attack(Backwards())
    examine_attack(Backwards(), skip=["power"])
    with pytest.raises(ValueError, match="no such check: pover; the checks are config"):
        examine_attack(Backwards(), skip=["pover"])


class Outputs(OutputDefense):
    """An output defense with a mistake."""

    name: Literal["outputs"] = "outputs"
    paper = "Nobody 2020, arXiv 0000.00000"
    strength: float = 0.5
    """How much of it."""

    def on_outputs(self, log_scores, x, secret):
        return log_scores


class Unnormalized(Outputs):
    def on_outputs(self, log_scores, x, secret):
        return log_scores - self.strength


class Withholding(Outputs):
    def on_outputs(self, log_scores, x, secret):
        return jnp.where(log_scores < jnp.log(0.01), -jnp.inf, log_scores)


class Averaged(Outputs):
    def on_outputs(self, log_scores, x, secret):
        noise = self.strength * jax.random.normal(secret, log_scores.shape)
        return jax.nn.log_softmax(log_scores + noise)


class Telling(Outputs):
    leaves: ClassVar[Access] = Access.LABELS


class Generous(Outputs):
    leaves: ClassVar[Access] = Access.LOGITS


class Permanent(Outputs):
    def on_outputs(self, log_scores, x, secret):
        return jax.nn.log_softmax(log_scores / 2)


class Useless(Outputs):
    def on_outputs(self, log_scores, x, secret):
        return jax.nn.log_softmax(-log_scores)


class Standing(ModelDefense):
    """A defense of the model with a mistake."""

    name: Literal["standing"] = "standing"
    paper = "Nobody 2020, arXiv 0000.00000"
    strength: float = 0.5
    """How much of it."""

    def on_model(self, model):
        return model if self.strength == 0 else self.spoiled(model)

    @staticmethod
    @functools.lru_cache
    def spoiled(model):
        return model


class Hidden(Standing):
    @staticmethod
    @functools.lru_cache
    def spoiled(model):
        return replace(model, apply=lambda params, x: model.apply(params, jnp.round(8 * x) / 8))


class Misled(Standing):
    @staticmethod
    @functools.lru_cache
    def spoiled(model):
        return replace(model, adapted=replace(model, apply=lambda params, x: -model.apply(params, x)))


class Alarmed(Standing):
    @staticmethod
    @functools.lru_cache
    def spoiled(model):
        def apply(params, x):
            logits = model.apply(params, x)
            return jnp.concatenate([logits, 2 * jnp.max(logits, -1, keepdims=True) * (x[:, :1, 0, 0] > 0.5)], -1)

        return replace(model, apply=apply, num_classes=model.num_classes + 1, rejects=True)


class Crowded(Standing):
    @staticmethod
    @functools.lru_cache
    def spoiled(model):
        return replace(model, apply=lambda params, x: model.apply(params, x - 0.5 * x[:1]))


class Settled(Standing):
    @staticmethod
    @functools.lru_cache
    def spoiled(model):
        return replace(model, draw=lambda params, x, keys: model.apply(params, x))


class Forgetting(Standing):
    @staticmethod
    @functools.lru_cache
    def spoiled(model):
        return replace(model, draw=None, adapted=None)


class Inverted(Standing):
    @staticmethod
    @functools.lru_cache
    def spoiled(model):
        return replace(model, apply=lambda params, x: -model.apply(params, x))


class Remade(Standing):
    def on_model(self, model):
        return model if self.strength == 0 else replace(model)


class Lossy(Standing):
    def on_params(self, model, params, public, key):
        return {"inner": params}


class Training(TrainingDefense):
    """A training defense with a mistake."""

    name: Literal["training"] = "training"
    paper = "Nobody 2020, arXiv 0000.00000"
    strength: float = 0.5
    """How much of it."""

    def on_recipe(self, recipe):
        return recipe


class Mixing(Training):
    def on_recipe(self, recipe):
        return replace(recipe, transforms=(Mixed(),)).with_rates(mixup=1.0)


class Claiming(Training):
    def on_recipe(self, recipe):
        return replace(recipe, dp_event=None)


class Quieting(Training):
    def on_recipe(self, recipe):
        return recipe.with_rates(noise_multiplier=0.0)


class Changing(Training):
    def on_recipe(self, recipe):
        recipe.rates["learning_rate"] = 0.5
        return recipe


class Recompiled(Training):
    def on_recipe(self, recipe):
        return replace(recipe, optimizer=lambda rates: recipe.optimizer(rates))


class Masked(Training):
    def on_model(self, model):
        return Hidden().on_model(model)


class Stopped(Training):
    def on_recipe(self, recipe):
        return recipe.with_rates(learning_rate=0.0)


@pytest.mark.parametrize(
    ("check", "defense"),
    [
        ("distribution", Unnormalized()),
        ("distribution", Withholding()),
        ("distribution", Averaged()),
        ("repetition", Averaged()),
        ("leaves", Telling()),
        ("leaves", Generous()),
        ("identity", Permanent()),
        ("utility", Useless()),
        ("utility", Stopped()),
        ("privacy", Mixing()),
        ("privacy", Claiming()),
        ("privacy", Quieting()),
        ("stage", Changing()),
        ("stage", Recompiled()),
        ("adapted", Masked()),
        ("adapted", Hidden()),
        ("adapted", Misled()),
        ("false_alarms", Alarmed()),
        ("repetition", Crowded()),
        ("repetition", Settled()),
        ("composition", Forgetting()),
        ("utility", Inverted()),
        ("stage", Remade()),
        ("stage", Lossy()),
    ],
)
def test_a_careless_defense_is_told_so(check, defense):
    with pytest.raises(AssertionError):
        DEFENSE_CHECKS[check](defense)


class Curating(DataDefense):
    """A defense of the data with a mistake."""

    name: Literal["curating"] = "curating"
    paper = "Nobody 2020, arXiv 0000.00000"
    strength: float = 0.1
    """How much of it."""

    def on_data(self, data, curator):
        made = Cleaned.untouched(data)
        return made if self.strength == 0 else self.spoiled(made, data, curator)

    def spoiled(self, made, data, curator):
        return made


class Touching(Curating):
    def spoiled(self, made, data, curator):
        data.x[0] = 0.0
        return made


class Relabelling(Curating):
    def spoiled(self, made, data, curator):
        data.y[:] = 0
        return made


class Thinning(Curating):
    def spoiled(self, made, data, curator):
        return Cleaned(made.y[:-1], made.kept[:-1], made.suspicion[:-1])


class Ranking(Curating):
    def spoiled(self, made, data, curator):
        return made._replace(kept=np.arange(data.size))


class Bare(Curating):
    def spoiled(self, made, data, curator):
        return made.kept


class Inventing(Curating):
    def spoiled(self, made, data, curator):
        return made._replace(y=np.where(np.arange(data.size) < 3, -1, made.y))


class Accusing(Curating):
    def spoiled(self, made, data, curator):
        return made._replace(suspicion=np.full(data.size, np.inf))


class Moody(Curating):
    calls: ClassVar = itertools.count()

    def spoiled(self, made, data, curator):
        return made._replace(kept=np.arange(data.size) != next(self.calls))


class Emptying(Curating):
    def spoiled(self, made, data, curator):
        return made._replace(kept=np.zeros(data.size, bool))


class Confusing(Curating):
    def spoiled(self, made, data, curator):
        return made._replace(y=(made.y + 1) % 4)


class Busy(Curating):
    def on_data(self, data, curator):
        y = np.asarray(data.y)
        curator.fit(y, np.ones(data.size, bool), curator.key)
        return Cleaned.untouched(data)


class Strict(Curating):
    def on_data(self, data, curator):
        return Cleaned.without(data, np.arange(data.size, dtype=float), 0.1)


class Careful(Curating):
    def spoiled(self, made, data, curator):
        curator.fit(made.y, np.flatnonzero(made.kept), curator.key)
        return made


@pytest.mark.parametrize(
    ("check", "defense", "told"),
    [
        ("stage", Touching(), "`on_data` writes into the records that it was given"),
        ("stage", Relabelling(), "`on_data` writes into the records that it was given"),
        ("stage", Thinning(), r"`y` has shape \[\d+\] and type int32.*each of shape"),
        ("stage", Ranking(), "`kept` has shape .* and type int64"),
        ("stage", Bare(), "must return Cleaned"),
        ("distribution", Inventing(), "labels that are no classes"),
        ("distribution", Accusing(), "write NaN for none"),
        ("repetition", Moody(), "`kept` differs from call to call: draw by `curator.key` alone"),
        ("utility", Emptying(), "it leaves 0% of clean records"),
        ("utility", Confusing(), "accuracy on well-separated classes falls to 0"),
        ("identity", Busy(), "everything kept and no model trained to find that out"),
        ("identity", Strict(), "no field at .* makes it the identity"),
        ("utility", Careful(), "`curator.fit` takes a label int32 and a bool for each record"),
    ],
)
def test_a_careless_defense_of_the_data_is_told_what_is_wrong(check, defense, told):
    with pytest.raises(AssertionError, match=told):
        DEFENSE_CHECKS[check](defense)


class Planting(BadNets):
    """BadNets with a mistake in what it plants."""

    rate: float = 0.1
    """The share that it says."""

    def tamper(self, data, knowledge, key):
        return self.spoiled(super().tamper(data, knowledge, key), data)

    def spoiled(self, poison, data):
        return poison


class Insatiable(Planting):
    def tamper(self, data, knowledge, key):
        return BadNets(rate=3 * self.rate).tamper(data, knowledge, key)


class Absent(Planting):
    tampers: ClassVar[bool] = False


class Idle(Planting):
    def spoiled(self, poison, data):
        return None


class Overwriting(Planting):
    def spoiled(self, poison, data):
        data.x[poison.replaces] = poison.x
        return poison


class Crooked(Planting):
    def spoiled(self, poison, data):
        return poison._replace(x=poison.x[..., 0])


class Glaring(Planting):
    def spoiled(self, poison, data):
        return poison._replace(x=3 * poison.x)


class Fancied(Planting):
    def spoiled(self, poison, data):
        return poison._replace(y=poison.y + 4)


class Displaced(Planting):
    def spoiled(self, poison, data):
        return poison._replace(replaces=poison.replaces + data.size)


class Doubled(Planting):
    def spoiled(self, poison, data):
        return poison._replace(replaces=np.zeros_like(poison.replaces))


class Adding(Planting):
    def spoiled(self, poison, data):
        return poison._replace(replaces=np.full_like(poison.replaces, -1))


class Erratic(Planting):
    calls: ClassVar = itertools.count()

    def spoiled(self, poison, data):
        return poison._replace(x=poison.x * np.float32(1 - 1e-3 * next(self.calls)))


class Pairless(Planting):
    def spoiled(self, poison, data):
        return poison._replace(pair=np.full_like(poison.pair, 99))


class Crowning(Planting):
    """Its control is as harmful, and adds a record."""

    @property
    def control(self):
        return Larger()


class Larger(BadNets):
    """BadNets with one record more."""

    @property
    def added(self):
        return 1

    def tamper(self, data, knowledge, key):
        made = super().tamper(data, knowledge, key)
        more = Poison.of(made.x[:1], made.y[:1], np.array([-1]))
        return Poison(*map(np.concatenate, zip(made, more, strict=True)))


class Wishing(Planting):
    """Asks for the class that a record has."""

    def run(self, target, knowledge, key):
        found = super().run(target, knowledge, key)
        return found._replace(goal=found.y)


class Harmless(Planting):
    """The patch, with right labels."""

    def spoiled(self, poison, data):
        return poison._replace(y=np.asarray(data.y)[poison.replaces])


@pytest.mark.parametrize(
    ("check", "attack", "told"),
    [
        ("tampering", Insatiable(), r"3\d\.\d% of a model's training records .* `rate` says 10\.0%"),
        ("tampering", Absent(), "write `tampers: ClassVar"),
        ("tampering", Idle(), "must return a Poison; got NoneType"),
        ("power", Idle(), "`tamper` gives None"),
        ("tampering", Overwriting(), "`tamper` writes into the records that it was given"),
        ("tampering", Crooked(), r"`x` of its Poison has shape .*build it by `Poison.of`"),
        ("tampering", Glaring(), "outside the box"),
        ("tampering", Fancied(), "labels that are no classes"),
        ("tampering", Displaced(), "`replaces` are rows of the 400 candidates"),
        ("tampering", Doubled(), "take the place of one candidate"),
        ("tampering", Adding(), "it adds 40 records to every training set, and `added` says 0"),
        ("tampering", Erratic(), "`x` of what it plants differs between two calls"),
        ("tampering", Pairless(), "`pair` is -1 for all"),
        ("tampering", Crowning(), "its control adds 1 records and it adds 0"),
        ("evidence", Wishing(), "already has the class it is to be taken for"),
        ("power", Harmless(), "advantage where success is certain is"),
    ],
)
def test_a_careless_poisoning_attack_is_told_what_is_wrong(check, attack, told):
    with pytest.raises(AssertionError, match=told):
        ATTACK_CHECKS[check](attack)


def test_an_attack_after_the_training_plants_nothing():
    ATTACK_CHECKS["tampering"](Loss())
    with pytest.raises(AssertionError, match="`tampers` is True and there is no `tamper`"):
        ATTACK_CHECKS["tampering"](Early())


class Early(Careless):
    tampers: ClassVar[bool] = True


def test_strength_zero_may_be_given():
    examine_defense(Rounding(), off=Rounding(decimals=None), skip=["utility"])
    with pytest.raises(AssertionError, match="not the identity"):
        examine_defense(Rounding(), off=Rounding(decimals=1))


class Shifted(Digits):
    """Digits with labels from 1."""

    def load(self):
        data = super().load()
        return replace(data, y=data.y + 1)


class Shuffled(Digits):
    """Digits in another order each time."""

    calls: ClassVar = itertools.count()

    def load(self):
        data = super().load()
        return data.take(np.random.default_rng(next(self.calls)).permutation(data.size))


def test_a_careless_data_set_is_told_so():
    with pytest.raises(AssertionError, match="labels must be"):
        SOURCE_CHECKS["records"](Shifted())
    with pytest.raises(AssertionError, match="two loads differ"):
        SOURCE_CHECKS["repeatable"](Shuffled())


class Batchy(Net):
    """A net with batch statistics and an unseen parameter."""

    name: Literal["batchy"] = "batchy"

    def module(self, shape, num_classes, rngs):
        return _Batchy(int(np.prod(shape)), num_classes, rngs)


class _Batchy(nnx.Module):
    def __init__(self, inputs, outputs, rngs):
        self.dense, self.gain = Dense(inputs, outputs, rngs=rngs), nnx.Param(jnp.ones(()))

    def __call__(self, x, tap):
        x = x.reshape(x.shape[0], -1)
        return self.gain[...] * self.dense(x - x.mean(axis=0), tap)


def test_a_careless_net_is_told_so():
    with pytest.raises(AssertionError, match="GroupNorm"):
        NET_CHECKS["separation"](Batchy())
    with pytest.raises(AssertionError, match="unclipped"):
        NET_CHECKS["taps"](Batchy())
