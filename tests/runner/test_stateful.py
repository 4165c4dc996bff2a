"""Attacks on an endpoint that remembers: each comes as a new client, and the rest of the run changes nothing."""

from __future__ import annotations

import pytest

import privsec

SQUARE = {"name": "square", "radius": 0.15, "points": 10, "queries": 60, "targets": 1}
PROGRAM = {"name": "bar", "task": {"name": "squares", "size": 12, "records": 200}, "side": 4, "epochs": 1, "targets": 1}
SETTINGS = {"false_positives": 0.02, "neighbors": 5}


def run(small, folder, quiet, attacks, defenses=None):
    defenses = {"stateful": [{"name": "stateful_similarity", **SETTINGS}]} if defenses is None else defenses
    small |= {"population": {"models": 2, "size": 100, "points": 20}, "seeds": [0]}
    small["training"] = {"learning_rate": 0.01, "epochs": 20, "batch_size": 20}
    return privsec.run({**small, "attacks": attacks, "defenses": defenses}, out=folder, narrator=quiet)


def values(results, attack, measure):
    (cell,) = [cell for cell in results.cells if cell.attack == attack]
    assert cell.status == "ok", cell.reason
    return cell.per_target[measure].tolist()


@pytest.fixture
def alone(small, tmp_path, quiet):
    return run(small, tmp_path / "alone", quiet, [SQUARE])


def test_a_cell_does_not_depend_on_the_attacks_before_it(alone, small, tmp_path, quiet):
    both = run(small, tmp_path / "both", quiet, [{"name": "loss"}, {**SQUARE, "label": "first", "radius": 0.3}, SQUARE])
    for measure in ("advantage", "success", "refused", "queries"):
        assert values(both, "square", measure) == values(alone, "square", measure)


def test_what_was_found_is_tried_on_other_users_and_they_are_not_banned(alone):
    """Clean records and found ones get the model's answer, but for false alarms."""
    assert max(values(alone, "square", "refused")) <= 0.2
    assert min(values(alone, "square", "clean_accuracy")) > 0.5
    (utility,) = [cell for cell in alone.cells if cell.family == "utility"]
    assert utility.per_target["test_accuracy"].min() > 0.5


@pytest.mark.slow
def test_a_program_that_was_banned_stays_banned(small, tmp_path, quiet):
    stateful = run(small, tmp_path, quiet, [PROGRAM])
    assert values(stateful, "bar", "refused") == [1.0]
    assert values(stateful, "bar", "accuracy") == [0.0]


def test_it_stops_a_search_and_strength_zero_is_no_defense(alone, small, tmp_path, quiet):
    off = {"off": [{"name": "stateful_similarity", "false_positives": 0}]}
    one = run(small, tmp_path / "off", quiet, [SQUARE], off)
    other = run(small, tmp_path / "none", quiet, [SQUARE], {"none": []})
    assert values(one, "square", "success") == values(other, "square", "success")
    assert values(alone, "square", "success")[0] < values(other, "square", "success")[0]
