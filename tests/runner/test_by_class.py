"""A run whose halves are drawn by class: what reaches whom, and that a class comes back only from who knew it."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from privsec.report.page import write
from privsec.runner.config import load
from privsec.runner.execute import run
from privsec.runner.plan import plan
from privsec.runner.progress import Narrator
from privsec.runner.results import Results
from privsec.runner.world import World

CONFIG: dict[str, Any] = {
    "title": "Whose digit",
    "data": {"name": "digits", "limit": 600},
    "net": {"name": "mlp", "hidden": []},
    "training": {"epochs": 40, "batch_size": 20, "learning_rate": 1e-2},
    "population": {"models": 8, "size": 120, "by": "class"},
    "attacks": [
        {"name": "mi_face", "optimizer": "momentum", "learning_rate": 0.2, "tv": 0.1, "steps": 60},
        {"name": "loss"},
    ],
    "seeds": [0],
}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    quiet = Narrator(Console(file=io.StringIO()))
    return run(CONFIG, out=tmp_path_factory.mktemp("by-class"), narrator=quiet)


def test_a_class_comes_back_from_the_models_that_knew_it_only(results):
    assert not results.failed, [cell.reason for cell in results.failed]
    found = next(cell for cell in results.cells if cell.attack == "mi_face")
    assert found.estimates["advantage"].low > 0.4
    assert found.estimates["success"].value > found.estimates["null_success"].value + 0.5
    assert min(found.facts["evaluator_accuracy"]) > 0.5 and "warnings" not in found.facts
    arrays, world = found.arrays, _world()
    assert arrays["judged"].sum(axis=0).max() == 4  # one model of each pair, at most
    for t, row in enumerate(world.member):
        inside, outside = (set(np.asarray(world.candidates.y)[side]) for side in (row, ~row))
        assert set(arrays["y"][arrays["judged"][t]]) == inside - outside


def test_utility_is_tested_on_others_records_of_classes_that_the_model_knows(results):
    world = _world()
    known = next(cell for cell in results.cells if not cell.attack).per_target
    assert known["test_accuracy"].min() > 0.8  # a model that was asked of classes it never saw would be at 0
    assert not set(np.asarray(world.population.y)) & set(np.asarray(world.holdout.y))


def test_attacks_that_ask_about_single_records_are_not_applicable(results):
    loss = next(cell for cell in results.cells if cell.attack == "loss")
    assert loss.status == "not_applicable" and "only class inversion" in loss.reason


def test_the_page_shows_the_twin_beside_the_reconstruction(results, tmp_path):
    page = write(results, tmp_path / "report.html").read_text()
    assert "from a model without the class" in page and "nearest held-out record" not in page
    assert "The attacker has no record of any of these classes" in page
    assert "rebuilds what classes look like of which the attacker has no record" in page


def test_runs_by_record_keep_their_names():
    by = {"by": "record"}
    plain = {**CONFIG, "population": {"models": 8, "size": 120}}
    said, unsaid, other = (plan(c) for c in ({**plain, "population": plain["population"] | by}, plain, CONFIG))
    assert said.experiment.digest == unsaid.experiment.digest != other.experiment.digest
    assert [b.digest for b in said.banks] == [b.digest for b in unsaid.banks] != [b.digest for b in other.banks]


def _world() -> World:
    experiment = load(CONFIG)
    return World.of(experiment, experiment.data.load(), 0)
