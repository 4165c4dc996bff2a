"""What a run says of evasion, reprogramming, extraction and hidden attributes, reckoned again from what it left behind.

The networks are small enough to be evaluated in NumPy, from the weights in the bank.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import safetensors.numpy
from rich.console import Console

from privsec.core.access import Access
from privsec.core.target import Target
from privsec.nets.base import model_of
from privsec.nets.mlp import MLP
from privsec.runner.config import load
from privsec.runner.execute import run
from privsec.runner.judging import explained
from privsec.runner.plan import plan
from privsec.runner.progress import Narrator
from privsec.runner.results import CellResult, Results
from privsec.runner.world import World

RADIUS = 0.15
DIGITS: dict[str, Any] = {
    "title": "Kinds",
    "data": {"name": "digits", "limit": 500},
    "net": {"name": "mlp", "hidden": [16]},
    "training": {"epochs": 8, "batch_size": 20, "learning_rate": 1e-2},
    "population": {"models": 2, "size": 150, "points": 40},
    "defenses": {"none": [], "rounding": [{"name": "input_rounding", "levels": 3}], "labels": [{"name": "label_only"}]},
    "attacks": [
        {"name": "pgd", "radius": RADIUS, "steps": 5},
        {"name": "fgsm", "label": "to-3", "radius": RADIUS, "goal": 3, "source": 8},
        {
            "name": "adversarial_program",
            "task": {"name": "squares", "size": 12, "records": 120},
            "epochs": 4,
            "batch_size": 20,
        },
        {"name": "knockoff", "budgets": [20, 100], "net": {"name": "mlp", "hidden": [8]}, "training": {"epochs": 4}},
    ],
    "seeds": [0],
}


def small(config: dict[str, Any], out: Path) -> Results:
    results = run(config, out=out, narrator=Narrator(Console(file=io.StringIO())))
    assert not results.failed, [cell.reason for cell in results.failed]
    return results


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return small(DIGITS, tmp_path_factory.mktemp("digits"))


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """People of whom one answer is a coin, and the class is that coin: only the model can know it of whom."""
    folder, rng = tmp_path_factory.mktemp("table"), np.random.default_rng(0)
    coin, age, other = rng.integers(0, 2, 400), rng.integers(20, 60, 400), rng.normal(size=400)
    with (folder / "people.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["coin", "age", "other", "well"])
        writer.writerows(zip(np.array(["no", "yes"])[coin], age, other.round(3), (coin + (other > 0)) % 2, strict=True))
    config = {
        **DIGITS,
        "data": {"name": "csv", "path": str(folder / "people.csv"), "target": "well"},
        "population": {"models": 2, "size": 100, "points": 40},
        "defenses": {"none": []},
        "attacks": [
            {"name": "attribute_inference", "attribute": "coin", "records": 60},
            {"name": "fgsm", "radius": 0.5},
        ],
    }
    return small(config, folder)


def cell(results: Results, attack: str, defense: str = "none") -> CellResult:
    return next(c for c in results.cells if (c.attack, c.defense) == (attack, defense))


def world(results: Results) -> World:
    experiment = load(results.config)
    return World.of(experiment, experiment.data.load(), 0)


class Network:
    """Model t of the bank without defenses, in NumPy."""

    def __init__(self, results: Results, t: int = 0) -> None:
        bank = next(bank for bank in plan(results.config).banks if not bank.defenses)
        path = results.folder.parent / "bank" / bank.digest / f"model-{t:05d}.safetensors"
        leaves = safetensors.numpy.load_file(path)
        self.first, self.last = (
            [leaves[f"dense/{i}/{name}"].astype(np.float64) for name in ("kernel", "bias")] for i in (0, 1)
        )

    def logits(self, x: np.ndarray) -> np.ndarray:
        hidden = x.reshape(len(x), -1) @ self.first[0] + self.first[1]
        return np.maximum(hidden, 0) @ self.last[0] + self.last[1]

    def labels(self, x: np.ndarray) -> np.ndarray:
        return np.argmax(self.logits(x), axis=1)

    def slope(self, x: np.ndarray, of: np.ndarray) -> np.ndarray:
        on = x.reshape(len(x), -1) @ self.first[0] + self.first[1] > 0
        return ((on * self.last[0].T[of]) @ self.first[0].T).reshape(x.shape)


def shares_of_points(found: CellResult) -> None:
    """The advantage is made of the points that stand in the evidence."""
    won, null = found.arrays["won"].astype(float).mean(axis=1), found.arrays["null"].astype(float).mean(axis=1)
    np.testing.assert_allclose(found.per_target["advantage"], (won - null) / (1 - null), atol=1e-6)
    assert found.estimates["advantage"].value == pytest.approx(found.per_target["advantage"].mean())


@pytest.mark.parametrize("defense", ["none", "rounding", "labels"])
def test_evasion_counts_every_point_that_is_wrong_in_the_end(digits, defense):
    found = cell(digits, "pgd", defense)
    arrays, y = found.arrays, found.arrays["y"]
    assert y.shape == (40,) and np.array_equal(y, world(digits).dataset.y[world(digits).points()])
    clean, after = arrays["called_clean"] != y, arrays["called"] != y
    assert (arrays["distance"][np.isfinite(arrays["distance"])] <= RADIUS * (1 + 1e-5)).all()
    np.testing.assert_allclose(found.per_target["success"], (clean | after).mean(axis=1))
    np.testing.assert_allclose(found.per_target["robust_accuracy"], 1 - (clean | after).mean(axis=1))
    np.testing.assert_allclose(found.per_target["clean_accuracy"], 1 - clean.mean(axis=1))
    noise = found.per_target["noise_success"]
    np.testing.assert_allclose(arrays["null"].mean(axis=1), np.maximum(clean.mean(axis=1), noise), atol=1e-6)
    shares_of_points(found)


def test_the_changed_records_are_what_the_model_was_asked(digits):
    arrays, seen = cell(digits, "pgd").arrays, world(digits)
    rows = arrays["shown"]
    np.testing.assert_array_equal(arrays["before"], seen.dataset.x[seen.points()][arrays["rows"][rows]])
    for t in range(2):
        network = Network(digits, t)
        np.testing.assert_array_equal(arrays["called_clean"][t][rows], network.labels(arrays["before"]))
        np.testing.assert_array_equal(arrays["called"][t][rows], network.labels(arrays["after"][t]))
    assert np.abs(arrays["after"] - arrays["before"]).max() == pytest.approx(RADIUS, rel=1e-5)


def test_saliency_is_the_relative_size_of_the_slope_of_each_answer(digits):
    arrays, network = cell(digits, "pgd").arrays, Network(digits)
    for when, x, called in (
        ("before", arrays["before"], arrays["called_clean"][0]),
        ("after", arrays["after"][0], arrays["called"][0]),
    ):
        slope = np.abs(network.slope(x, called[arrays["shown"]]))
        expected = slope / slope.reshape(len(x), -1).max(axis=1).reshape(-1, 1, 1, 1)
        np.testing.assert_allclose(arrays[f"saliency_{when}"].astype(float), expected, atol=2e-3)


def test_an_answer_is_explained_only_where_the_target_gives_gradients(digits):
    model = world(digits).model
    params = jax.tree.map(lambda leaf: leaf[None], model.init(jax.random.key(0)))
    target = Target.of(model, params, jax.random.split(jax.random.key(0), 1))
    x, called = np.ones((2, 8, 8, 1), np.float32), np.zeros(2, np.int32)
    for access in (Access.LABELS, Access.LOGITS):
        closed = target.restrict(access)
        assert explained.evaded(closed, x, x, (called, called)) == {}
        assert explained.programmed(closed, x, x, called) == {}
    maps = explained.programmed(target.restrict(Access.GRADIENTS), x, x, called)
    assert np.all(maps["effect"] == 0) and maps["saliency"].max() == 1, "nothing was added, so nothing has an effect"


def test_colors_are_explained_by_their_strongest_channel():
    model = model_of(MLP(hidden=()), (2, 2, 3), 4)
    params = jax.tree.map(lambda leaf: leaf[None], model.init(jax.random.key(0)))
    target, called = Target.of(model, params), np.array([1, 3], np.int32)
    kernel = np.asarray(jax.tree.leaves(params)[-1])[0]
    assert kernel.shape == (12, 4)
    slope = np.abs(kernel.T[called]).reshape(2, 2, 2, 3).max(axis=-1, keepdims=True)
    maps = explained.evaded(target, *np.zeros((2, 2, 2, 2, 3), np.float32), (called, called))
    expected = slope / slope.max(axis=(1, 2, 3), keepdims=True)
    np.testing.assert_allclose(maps["saliency_before"].astype(float), expected, atol=1e-3)


def test_a_targeted_attack_wins_only_by_its_goal(digits):
    found, arrays = cell(digits, "to-3"), cell(digits, "to-3").arrays
    assert set(arrays["y"]) == {8} and set(arrays["goal"]) == {3}
    taken = (arrays["called"] == 3) | (arrays["called_clean"] == 3)
    np.testing.assert_allclose(found.per_target["success"], taken.mean(axis=1))
    shares_of_points(found)


def test_a_hidden_gradient_is_attacked_with_and_without_knowing_of_it(digits):
    found = cell(digits, "pgd", "rounding")
    gap = found.per_target["success"] - found.per_target["naive_success"]
    np.testing.assert_allclose(found.per_target["masking_gap"], gap)
    assert "naive_success" not in cell(digits, "pgd").per_target
    assert "naive_success" not in cell(digits, "pgd", "labels").per_target, "who holds the weights meets no endpoint"


def test_a_program_is_judged_by_the_answers_to_records_the_attacker_did_not_have(digits):
    found = cell(digits, "adversarial_program")
    arrays, asked = found.arrays, found.arrays["programmed"]
    for t in range(2):
        logits = Network(digits, t).logits(asked[t])
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        called = np.argmax(odds @ arrays["mapping"][t].astype(float) / odds.sum(axis=1, keepdims=True), axis=1)
        np.testing.assert_array_equal(arrays["called"][t], called)
    right = np.trace(arrays["confusion"][:, :, :-1], axis1=1, axis2=2) / arrays["confusion"].sum(axis=(1, 2))
    np.testing.assert_allclose(found.per_target["accuracy"], right)
    np.testing.assert_allclose(arrays["won"].mean(axis=1), right)
    nulls = [found.per_target[f"null_{name}"] for name in ("probe", "twin", "majority")]
    np.testing.assert_allclose(arrays["null"].mean(axis=1), np.max(nulls, axis=0))
    np.testing.assert_allclose(
        found.per_target["pattern_norm"], np.linalg.norm(arrays["pattern"].reshape(2, -1), axis=1), rtol=1e-5
    )
    task = world(digits).task(load(digits.config).attacks[2].task)  # type: ignore[attr-defined]
    majority = np.bincount(task.train.y).argmax()
    assert found.per_target["null_majority"][0] == pytest.approx(np.mean(np.asarray(task.test.y)[:40] == majority))
    shares_of_points(found)


def test_the_effect_of_a_program_lies_where_the_program_is(digits):
    arrays = cell(digits, "adversarial_program").arrays
    assert arrays["effect"].shape == (8, 8, 1) and arrays["effect"].max() == 1
    assert np.all(arrays["effect"][arrays["pattern"][0] == 0] == 0) and arrays["effect"].min() >= 0
    network, asked = Network(digits), arrays["programmed"][0]
    slope = np.abs(network.slope(asked, network.labels(asked)))
    expected = slope / slope.reshape(len(asked), -1).max(axis=1).reshape(-1, 1, 1, 1)
    np.testing.assert_allclose(arrays["saliency"].astype(float), expected, atol=2e-3)


@pytest.mark.parametrize("defense", ["none", "rounding"])
def test_a_copy_is_compared_on_records_that_nobody_asked_about(digits, defense):
    found, arrays = cell(digits, "knockoff", defense), cell(digits, "knockoff", defense).arrays
    np.testing.assert_array_equal(arrays["budgets"], [20, 100])
    np.testing.assert_allclose(found.per_target["fidelity"], arrays["fidelity"][:, -1])
    np.testing.assert_allclose(arrays["won"].mean(axis=1), arrays["fidelity"][:, -1])
    np.testing.assert_allclose(arrays["null"].mean(axis=1), arrays["null_fidelity"][:, -1])
    shares_of_points(found)
    if defense == "none":
        x, y = (np.asarray(part)[:40] for part in world(digits).public_sample)
        accuracy = [np.mean(Network(digits, t).labels(x) == y) for t in range(2)]
        np.testing.assert_allclose(found.per_target["victim_accuracy"], accuracy)


def test_what_needs_more_than_labels_does_not_run_behind_them(digits):
    assert cell(digits, "knockoff", "labels").status == "not_applicable"


def test_a_guessed_attribute_is_right_as_often_as_its_table_says(table):
    found, arrays = cell(table, "attribute_inference"), cell(table, "attribute_inference").arrays
    assert found.facts["values"] == ["no", "yes"] and arrays["count"].sum() == 60
    secret = world(table).secret("coin", 60)
    np.testing.assert_array_equal(arrays["count"], np.bincount(secret.values))
    accuracy = (arrays["count"] * arrays["recall"]).sum() / 60
    assert found.per_target["accuracy"].mean() == pytest.approx(accuracy)
    imputed = (arrays["count"] * arrays["recall_imputed"]).sum() / 60
    np.testing.assert_allclose(found.per_target["accuracy_imputed"], imputed)
    np.testing.assert_allclose(found.per_target["accuracy_gain"], found.per_target["accuracy"] - imputed)
    s, s0 = found.per_target["ppv"], found.per_target["ppv_imputed"]
    np.testing.assert_allclose(found.per_target["advantage"], (s - s0) / np.maximum(1 - s0, 1 / 6))


def test_a_changed_record_of_a_table_names_its_features_and_keeps_to_its_rules(table):
    found, arrays = cell(table, "fgsm"), cell(table, "fgsm").arrays
    names = found.facts["features"]
    assert len(names) == arrays["before"].shape[1] and {"age", "coin=no", "coin=yes"} <= set(names)
    group = [names.index("coin=no"), names.index("coin=yes")]
    np.testing.assert_allclose(arrays["after"][..., group].sum(axis=-1), 1)
    assert arrays["saliency_before"].shape == arrays["before"].shape
    shares_of_points(found)
