"""On trained models: every attack finds what was memorized, and nothing where membership is unrelated."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from scipy.special import stdtrit

from privsec.attacks import ATTACKS
from privsec.core import keys
from privsec.core.data import Dataset
from privsec.core.target import Target
from privsec.data.splits import split
from privsec.measures import membership
from privsec.runner.config import load
from privsec.runner.world import World
from privsec.training import many
from privsec.training.stacks import stack

MODELS, SIZE = 16, 120
KEPT = ("params", "checkpoints")
MEMBERSHIP = [name for name, spec in ATTACKS.specs.items() if spec.family == "membership"]
EXPERIMENT = {
    "title": "memorization",
    "data": {"name": "digits"},
    "net": {"name": "mlp", "hidden": [64]},
    "training": {"learning_rate": 3e-3, "batch_size": 40, "epochs": 60, "checkpoints": 3},
    "population": {"models": MODELS, "size": SIZE},
    "attacks": [{"name": "loss"}],
}


@cache
def world() -> World:
    """Records whose labels say nothing about them: what a model knows of a label, it memorized."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(480, 20)).astype(np.float32)
    data = Dataset(x, rng.integers(0, 4, 480).astype(np.int32), num_classes=4, box=(-5.0, 5.0), source="noise")
    return World.of(load(EXPERIMENT), data, 0)


@cache
def bank() -> Target:
    recipe = world().experiment.training.recipe(SIZE)
    trained = dict(many.train_many(world().model, recipe, world().candidates, world().member, keys.root(1)))
    params, history = (stack([getattr(trained[m], part) for m in range(MODELS)]) for part in KEPT)
    target = Target.of(world().model, params, checkpoints=many.checkpoints(history))
    return target.record(world().candidates).record(world().population)


def auc_of(name: str, setting: World) -> tuple[float, float]:
    """The mean AUC over targets and half the width of its 99.9% interval over pairs."""
    attack = ATTACKS.parse({"name": name})
    target = bank().restrict(attack.needs)
    evidence = attack.run(target, setting.knowledge(attack, target), keys.root(2))
    values = membership.measure(evidence, setting.member)["auc"].reshape(-1, 2).mean(axis=1)
    half = stdtrit(len(values) - 1, 0.9995) * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean()), float(half)


@pytest.mark.parametrize("name", MEMBERSHIP)
def test_what_was_memorized_is_found(name):
    auc, half = auc_of(name, world())
    assert auc - half > 0.6, "every record right is a member, every other a coin toss"


@pytest.mark.parametrize("name", MEMBERSHIP)
def test_membership_unrelated_to_training_is_not_found(name):
    other = split(world().dataset, SIZE, MODELS, keys.root(99)).include
    unrelated = World(world().experiment, 0, world().dataset, world().splits._replace(include=other))
    unrelated.__dict__["candidates"], unrelated.__dict__["population"] = world().candidates, world().population
    auc, half = auc_of(name, unrelated)
    assert abs(auc - 0.5) < half
