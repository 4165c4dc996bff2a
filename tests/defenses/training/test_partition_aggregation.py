"""Members on parts of the records: each is what training on its part alone gives, and their vote is the answer."""

from __future__ import annotations

import functools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from privsec.core import keys
from privsec.core.data import Examples
from privsec.core.errors import ConfigError
from privsec.core.target import Target
from privsec.defenses.model.feature_squeezing import FeatureSqueezing
from privsec.defenses.model.fine_pruning import FinePruning
from privsec.defenses.model.input_noise import InputNoise
from privsec.defenses.model.input_rounding import InputRounding
from privsec.defenses.model.mahalanobis import Mahalanobis
from privsec.defenses.model.pruning import Pruning, pruned
from privsec.defenses.model.randomized_smoothing import RandomizedSmoothing
from privsec.defenses.model.strip import Strip
from privsec.defenses.training.adversarial_training import AdversarialTraining
from privsec.defenses.training.distillation import Distillation
from privsec.defenses.training.dp_sgd import DPSGD
from privsec.defenses.training.early_stopping import EarlyStopping
from privsec.defenses.training.ensemble import Ensemble
from privsec.defenses.training.gradient_pruning import GradientPruning
from privsec.defenses.training.label_smoothing import LabelSmoothing
from privsec.defenses.training.mixup import Mixup
from privsec.defenses.training.partition_aggregation import PartitionAggregation, log_shares, voting
from privsec.defenses.training.thermometer import Thermometer
from privsec.defenses.training.weight_decay import WeightDecay
from privsec.nets.base import model_of
from privsec.nets.mlp import MLP
from privsec.training import loop, many, partition
from privsec.training.standard import Training

RECORDS, EXTRA, FEATURES, CLASSES, PARTS, KEY = 60, 6, 5, 3, 7, jax.random.key(3)
MODEL = model_of(MLP(hidden=(8,)), (FEATURES,), CLASSES)
RECIPE = Training(learning_rate=0.02, batch_size=20, epochs=6).recipe(RECORDS)
DEFENSE = PartitionAggregation(partitions=PARTS)


def records(count=RECORDS + EXTRA, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, FEATURES)).astype(np.float32)
    return Examples(x, (x[:, :CLASSES].argmax(axis=1)).astype(np.int32))


DATA, ROW, HOLDOUT = records(), np.arange(RECORDS + EXTRA) < RECORDS, records(40, 9)
X = jnp.asarray(records(200, 1).x)


def composed(*defenses):
    made, model = RECIPE, MODEL
    for defense in defenses:
        made, model = defense.on_recipe(made), defense.on_model(model)
    return made, model


@functools.cache
def unpoisoned(*defenses):
    return trained(*(defenses or (DEFENSE,)))


def trained(*defenses, data=DATA, row=ROW, kept=None):
    made, model = composed(*defenses)
    return jax.device_get(loop.train(model, made, data, row, KEY, HOLDOUT, kept=kept).params)


def member(params, j):
    return jax.tree.map(lambda leaf: leaf[j], params)


def same(a, b):
    return all(jax.tree.leaves(jax.tree.map(lambda x, y: np.array_equal(x, y), a, b)))


def touched(before, after):
    """Which members differ in any bit."""
    return {j for j in range(PARTS) if not same(member(before, j), member(after, j))}


def part(x):
    return partition.part_of(partition.digests(np.atleast_2d(x)), PARTS)


# The training.

OTHERS = (
    AdversarialTraining(radius=0.1, steps=2),
    LabelSmoothing(),
    Mixup(alpha=1.0),
    WeightDecay(strength=0.01),
    GradientPruning(share=0.3),
    EarlyStopping(patience=1),
)
LISTS = {"alone": (DEFENSE,), "last": (*OTHERS, DEFENSE), "first": (DEFENSE, *OTHERS)}


@pytest.mark.parametrize("defenses", LISTS.values(), ids=LISTS)
def test_a_member_is_what_training_on_its_part_alone_gives(defenses):
    """The ordinary training of one model on a data set of these records only, in another order, before a lot of NaN."""
    joint, (made, model) = unpoisoned(*defenses), composed(*defenses)
    number = jax.random.split(keys.derive(KEY, "training"), PARTS)
    rng = np.random.default_rng(5)
    for j in range(PARTS):
        rows = rng.permutation([n for n in range(RECORDS) if part(DATA.x[n])[0] == j])
        own, rest = DATA.take(rows), 30 - len(rows)  # one shape, so one compilation
        order = sorted(range(len(rows)), key=lambda i: (partition.digests(own.x)[i], own.y[i]))
        drawn = made.sampling.draw(keys.generator(keys.derive(KEY, "batches", j)), np.ones(len(rows), bool))
        schedule = drawn._replace(index=np.array(order, np.int32)[drawn.index])
        x, y = np.pad(own.x, ((0, rest), (0, 0)), constant_values=np.nan), np.pad(own.y, (0, rest))
        given = loop.Arguments(x, y, schedule, dict(made.rates), number[j], HOLDOUT)
        alone = loop.compiled(model.member, replace(made, partitions=1))(given).params
        # The program of one model may be fused in another way than that of many: equal to rounding.
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5), member(joint, j), alone)


@pytest.mark.parametrize(("order", "count"), [("alone", 1), ("alone", 5), ("last", 2), ("first", 1)])
def test_poison_changes_no_bit_of_a_member_whose_part_it_does_not_touch(order, count):
    """Replaced, in a data set with more rows, as an attacker's records stand behind the candidates."""
    before = unpoisoned(*LISTS[order])
    poison = records(count, 50 + count)
    data = Examples(np.concatenate([DATA.x, poison.x]), np.concatenate([DATA.y, (poison.y + 1) % CLASSES]))
    row = np.concatenate([ROW, np.ones(count, bool)])
    row[:count] = False
    after = trained(*LISTS[order], data=data, row=row)
    concerned = {*part(DATA.x[:count]), *part(poison.x)}
    assert touched(before, after) == concerned and 0 < len(concerned) <= 2 * count


def test_a_flipped_label_changes_one_member_and_a_record_left_out_too():
    before, y = unpoisoned(), np.array(DATA.y)
    y[4] = (y[4] + 1) % CLASSES
    assert touched(before, trained(DEFENSE, data=DATA._replace(y=y))) == set(part(DATA.x[4]))
    kept = np.arange(RECORDS + EXTRA) != 7
    assert touched(before, trained(DEFENSE, kept=kept)) == set(part(DATA.x[7]))


def test_where_records_stand_is_nothing_to_a_member():
    order = np.random.default_rng(0).permutation(RECORDS + EXTRA)
    twice = np.concatenate([order, order[:2]])  # copies that are trained on in the place of the first
    data, row = DATA.take(twice), ROW[twice]
    for i in np.flatnonzero(ROW[order[:2]]):
        row[i] = False
    row[len(order) :] = ROW[order[:2]]
    assert not touched(unpoisoned(), trained(DEFENSE, data=data, row=row))


def test_a_model_of_a_bank_is_the_one_that_is_trained_alone():
    made, model = composed(DEFENSE)
    include = np.stack([ROW, np.roll(ROW, EXTRA)])
    bank = dict(many.train_many(model, made, DATA, include, KEY, holdout=HOLDOUT))
    alone = jax.device_get(loop.train(model, made, DATA, include[1], keys.derive(KEY, "model", 1)).params)
    assert same(bank[1].params, alone)
    side_by_side = dict(many.train_many(model, made, DATA, include, KEY, placement="vmap"))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), side_by_side[1].params, alone)


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
def test_parts_may_be_empty(backend, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    few = Examples(DATA.x[:4], DATA.y[:4])
    recipe = Training(batch_size=4, epochs=5, learning_rate=0.1).recipe(4)
    defense = PartitionAggregation(partitions=30 if backend == "cpu" else 29)
    made, model = defense.on_recipe(recipe), defense.on_model(MODEL)
    got = loop.train(model, made, few, np.ones(4, bool), KEY)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(got.params))
    assert np.isfinite(model.apply(got.params, X)).all()


def test_checkpoints_come_first_and_a_training_goes_on_where_it_began():
    made, model = composed(DEFENSE)
    got = loop.train(model, replace(made, checkpoints=2), DATA, ROW, KEY)
    assert {leaf.shape[:2] for leaf in jax.tree.leaves(got.checkpoints)} == {(2, PARTS)}
    assert same(jax.device_get(got.params), unpoisoned())
    on = loop.train(model, made, DATA, ROW, KEY, start=got.params)
    assert touched(jax.device_get(got.params), jax.device_get(on.params)) == set(range(PARTS))


def test_every_step_each_member_sees_its_share_of_the_batch():
    made, _ = composed(DEFENSE)
    assert (made.steps, made.records, made.batch_size) == (RECIPE.steps, RECORDS, 20)
    index, weight = loop.arguments(made, DATA, ROW, KEY).schedule
    assert index.shape == weight.shape == (PARTS, RECIPE.steps, 3)
    for j, rows in enumerate(partition.parts(DATA.x, DATA.y, ROW, PARTS)):
        assert set(index[j].ravel()) == set(rows)
        counts = np.bincount(index[j].ravel(), minlength=RECORDS)[rows]
        assert counts.max() - counts.min() <= 1, "nobody is seen twice before everybody was seen once"


# The vote.


def test_the_votes_are_the_members_and_the_answer_their_plurality():
    params, model = unpoisoned(), composed(DEFENSE)[1]
    called = np.array([np.asarray(MODEL.apply(member(params, j), X)).argmax(axis=-1) for j in range(PARTS)])
    votes = np.array([[np.sum(called[:, n] == c) for c in range(CLASSES)] for n in range(len(X))])
    np.testing.assert_array_equal(model.votes(params, X), votes)
    tied = np.sort(votes, axis=1)[:, -1] == np.sort(votes, axis=1)[:, -2]
    assert tied.any(), "a case with ties"
    expected = [min(c for c in range(CLASSES) if row[c] == max(row)) for row in votes]
    np.testing.assert_array_equal(Target.of(model, params).labels(X), expected)
    np.testing.assert_array_equal(np.asarray(model.adapted.apply(params, X)).argmax(axis=-1), expected)
    np.testing.assert_allclose(np.exp(log_shares(votes)).sum(axis=1), 1, rtol=1e-6)


def test_the_adapted_model_has_the_slope_of_the_mean_probability():
    params, model = unpoisoned(), composed(DEFENSE)[1]
    slope = jax.vmap(jax.grad(lambda x: model.adapted.apply(params, x[None])[0, 1]))(X[:5])
    mean = lambda x: jnp.log(  # noqa: E731
        sum(jax.nn.softmax(MODEL.apply(member(params, j), x[None]))[0, 1] for j in range(PARTS)) / PARTS
    )
    np.testing.assert_allclose(slope, jax.vmap(jax.grad(mean))(X[:5]), rtol=1e-3, atol=1e-5)
    plain = jax.vmap(jax.grad(lambda x: model.apply(params, x[None])[0, 1]))(X[:5])
    assert (plain == 0).all() and (slope != 0).any()


def test_what_hides_a_members_gradient_is_uncovered_in_each():
    model = DEFENSE.on_model(Thermometer(levels=4).on_model(MODEL))
    params = model.init(KEY)

    def steep(face):
        return np.mean(np.any(np.asarray(jax.grad(lambda x: face.apply(params, x)[:, 0].sum())(X)) != 0, axis=1))

    assert steep(model.adapted) > 0.8 and steep(model) == 0


# What it goes with.


def test_one_part_is_no_defense_and_equal_ones_are_one_model():
    one = PartitionAggregation(partitions=1)
    assert one.on_recipe(RECIPE) is RECIPE and one.on_model(MODEL) is MODEL
    assert DEFENSE.on_model(MODEL) is PartitionAggregation(partitions=PARTS).on_model(MODEL)
    assert DEFENSE.on_recipe(RECIPE).program == DEFENSE.on_recipe(RECIPE).program


@pytest.mark.parametrize(
    ("other", "match"),
    [
        (DPSGD(noise_multiplier=1.0), "dp_sgd"),
        (DPSGD(noise_multiplier=0.0), "dp_sgd"),
        (Ensemble(), "ensemble"),
        (Distillation(), "distillation"),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
@pytest.mark.parametrize("first", [True, False])
def test_what_it_does_not_go_with_in_either_order(other, match, first):
    pair = (other, DEFENSE) if first else (DEFENSE, other)
    with pytest.raises(ConfigError, match=match) as told:
        pair[1].on_recipe(pair[0].on_recipe(RECIPE))
    assert "partition_aggregation" in str(told.value)


@pytest.mark.parametrize("later", [Thermometer(), PartitionAggregation()])
def test_what_may_not_come_after_it(later):
    with pytest.raises(ConfigError, match="partition_aggregation"):
        later.on_recipe(DEFENSE.on_recipe(RECIPE))


def test_members_have_no_members_of_their_own():
    with pytest.raises(ConfigError, match="members already"):
        DEFENSE.on_model(Ensemble().on_model(MODEL))
    with pytest.raises(ConfigError, match="on_model"):
        loop.train(MODEL, DEFENSE.on_recipe(RECIPE), DATA, ROW, KEY)


def test_the_claim_does_not_outlive_what_changes_answers():
    images = model_of(MLP(hidden=(8,)), (4, 4, 1), CLASSES)
    model = voting(images, 3)
    assert model.votes is not None and model.adapted.votes is None
    standing = (
        InputRounding(), InputNoise(), Mahalanobis(), FeatureSqueezing(), Strip(),
        RandomizedSmoothing(draws=4, samples=20, guesses=5),
    )  # fmt: skip
    for defense in standing:
        made = defense.on_model(model)
        assert made is not model and made.votes is None and (made.adapted is None or made.adapted.votes is None)
    with pytest.raises(ConfigError, match="fine_pruning"):
        FinePruning().on_model(model)


def test_a_pruned_member_hangs_on_itself_alone_so_pruning_keeps_the_claim():
    params, model = unpoisoned(), composed(DEFENSE)[1]
    assert Pruning(share=0.5).on_model(model) is model
    made = Pruning(share=0.5).on_params(model, params, HOLDOUT, KEY)
    for j in range(PARTS):
        np.testing.assert_array_equal(
            made["dense"][0]["kernel"][j], pruned(jnp.asarray(params["dense"][0]["kernel"][j]), 0.5)
        )
