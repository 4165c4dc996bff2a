"""Poisoned models beside their nulls, from a config to the table, also where a run was interrupted."""

from __future__ import annotations

import numpy as np
import pytest

from privsec.core.errors import ConfigError
from privsec.runner import case
from privsec.runner.config import load
from privsec.runner.execute import run
from privsec.runner.plan import plan
from privsec.runner.progress import Narrator
from privsec.runner.store import Store
from privsec.runner.work import Work
from privsec.runner.world import World
from privsec.training import many

TINY = {
    "title": "Poison",
    "data": {"name": "digits", "limit": 700},
    "net": {"name": "mlp", "hidden": [16]},
    "training": {"epochs": 10, "batch_size": 25, "learning_rate": 0.01},
    "population": {"models": 8, "size": 100, "points": 60},
    "attacks": [
        {"name": "badnets", "rate": 0.1},
        {"name": "badnets", "label": "hardly", "rate": 0.005},
        {"name": "label_flip", "rate": 0.4},
        {"name": "truth_serum", "victims": 60, "copies": 2},
    ],
}


@pytest.fixture(scope="module")
def done(tmp_path_factory, quiet):
    """One finished run, and the folder that holds it."""
    out = tmp_path_factory.mktemp("runs")
    return run(TINY, out=out, narrator=quiet), out


def _world():
    experiment = load(TINY)
    return World.of(experiment, experiment.data.load(), 0)


def value(results, attack, measure):
    table = results.table
    rows = table[(table.attack == attack) & (table.measure == measure) & (table.seed == "all")]
    assert len(rows) == 1 and rows.status.item() == "ok", rows
    return rows.value.item()


def test_attacks_before_the_training_have_models_of_their_own_beside_the_control():
    made = plan(TINY)
    titles = {bank.title for bank in made.banks}
    assert titles == {
        "no defense",
        *(
            f"no defense, after {name}"
            for name in ("badnets", "hardly", "label_flip", "truth_serum", "records left out")
        ),
    }
    cells = {cell.title: cell for cell in made.cells}
    clean = cells[""].bank
    assert cells["badnets"].control is clean and cells["truth_serum"].control is clean
    assert cells["label_flip"].control.title.endswith("records left out")
    assert cells["truth_serum"].bank.recipe.records == 100 + 120 and clean.recipe.records == 100


def test_a_backdoor_works_on_poisoned_models_and_hardly_any_poison_does_nothing(done):
    results, _ = done
    assert value(results, "badnets", "success") > 0.8 and value(results, "badnets", "null_success") < 0.2
    assert value(results, "badnets", "clean_accuracy") > 0.5  # nobody notices by the accuracy that it is useless
    assert value(results, "badnets", "poisoned") == pytest.approx(0.1)
    assert abs(value(results, "hardly", "advantage")) < 0.3 < value(results, "badnets", "advantage")
    assert value(results, "label_flip", "advantage") > 0.03
    assert value(results, "label_flip", "poisoned") == pytest.approx(0.4)


@pytest.mark.parametrize("attack", ["badnets", "truth_serum"])
def test_accuracy_is_that_on_records_that_neither_training_nor_defender_has(done, attack):
    results, _ = done
    cells = {c.attack: c for c in results.cells}
    tested = cells[""].per_target["test_accuracy"]
    np.testing.assert_allclose(cells[attack].per_target["unpoisoned_accuracy"], tested)
    assert cells[attack].per_target["clean_accuracy"].shape == tested.shape


@pytest.mark.parametrize("attack", ["badnets", "label_flip"])
def test_accuracy_by_class_adds_up_to_that_of_all(done, attack):
    results, _ = done
    cell, world = next(c for c in results.cells if c.attack == attack), _world()
    outside = ~world.member
    counts = np.stack([[np.sum(np.asarray(world.candidates.y)[row] == c) for c in range(10)] for row in outside])
    for of_all, by_class in (
        ("clean_accuracy", "class_accuracy"),
        ("unpoisoned_accuracy", "unpoisoned_class_accuracy"),
    ):
        found = (cell.arrays[by_class] * counts).sum(axis=1) / outside.sum(axis=1)
        np.testing.assert_allclose(found, cell.per_target[of_all], rtol=1e-5)


def test_truth_serum_is_held_against_the_same_attack_without_poison(done):
    results, _ = done
    cell = next(c for c in results.cells if c.attack == "truth_serum")
    assert cell.facts["kind"] == "amplification" and cell.facts["victims"] == 60 and cell.facts["negatives"] == 8 * 30
    assert value(results, "truth_serum", "poisoned") == pytest.approx(120 / 220)
    assert value(results, "truth_serum", "auc") > value(results, "truth_serum", "unpoisoned_auc")


def test_exhibits_show_what_was_planted_and_what_is_asked(done):
    results, _ = done
    cell = next(c for c in results.cells if c.attack == "badnets")
    shown = cell.arrays
    assert shown["planted"].shape[1:] == shown["asked"].shape[1:] == shown["before"].shape[1:] == (8, 8, 1)
    assert (shown["planted_y"] == 0).all() and not (shown["y"] == 0).any()
    changed = np.abs(shown["asked"] - shown["before"]).max(axis=(0, 3)) > 0
    assert changed[-3:, -3:].any() and not changed[:5].any() and not changed[:, :5].any()


def test_what_was_finished_is_neither_trained_nor_poisoned_again(done, quiet, monkeypatch):
    results, out = done
    before = results.table
    for path in (results.folder / "cells").glob("*.json"):
        path.unlink()
    dropped = sorted((out / "bank").glob("*/model-00002.safetensors"))[0]
    dropped.unlink()
    trained, original = [], many.train_many

    def counting(*args, models=None, **kwargs):
        trained.extend(models)
        yield from original(*args, models=trained[-len(models) :], **kwargs)

    monkeypatch.setattr(many, "train_many", counting)
    again = run(TINY, out=out, narrator=quiet).table
    assert trained == [2]
    columns = ["attack", "measure", "seed"]
    left, right = (table.sort_values(columns).reset_index(drop=True) for table in (before, again))
    np.testing.assert_allclose(left.value.astype(float), right.value.astype(float), rtol=1e-6)


def test_poison_that_cannot_be_made_is_a_reason_in_the_table(tmp_path, quiet):
    given = {**TINY, "attacks": [{"name": "badnets", "size": 9}, {"name": "truth_serum", "victims": 5000}]}
    results = run({**given, "population": {"models": 4, "size": 100}}, out=tmp_path, narrator=quiet)
    reasons = {cell.attack: (cell.status, cell.reason) for cell in results.cells if cell.attack}
    assert reasons["badnets"][0] == "not_applicable" and "9 x 9" in reasons["badnets"][1]
    assert reasons["truth_serum"][0] == "not_applicable" and "5000 victims" in reasons["truth_serum"][1]


VOTING = {
    **TINY,
    "data": {"name": "digits", "limit": 1200},
    "training": {"epochs": 30, "batch_size": 50, "learning_rate": 0.01},
    "population": {"models": 4, "size": 300, "points": 100},
    "defenses": {"none": [], "votes": [{"name": "partition_aggregation", "partitions": 20}]},
    "attacks": [
        {"name": "badnets", "rate": 0.03},
        {"name": "badnets", "label": "few", "rate": 0.005},
        {"name": "label_flip", "label": "few flips", "rate": 0.01},
    ],
}


def cell_of(results, defense, attack):
    return next(cell for cell in results.cells if (cell.defense, cell.attack) == (defense, attack))


@pytest.fixture(scope="module")
def voted(tmp_path_factory, quiet):
    out = tmp_path_factory.mktemp("voted")
    return run(VOTING, out=out, narrator=quiet), out


def test_votes_of_parts_prove_answers_and_lower_what_poison_does(voted):
    results, _ = voted
    none, votes = (cell_of(results, defense, "badnets") for defense in ("none", "votes"))
    assert votes.estimates["success"].value < none.estimates["success"].value - 0.2
    assert "certified" not in none.estimates
    few, flips = (cell_of(results, "votes", attack) for attack in ("few", "few flips"))
    assert 0.2 < few.estimates["certified"].value < 1 and few.estimates["certified_changes"].value >= 1
    for cell in (votes, few):
        given = cell.per_target["poisoned"] * 300
        np.testing.assert_allclose(cell.per_target["changes"], 2 * np.round(given))
    # The null leaves out those very records whose labels are flipped: each is one change.
    np.testing.assert_allclose(flips.per_target["changes"], np.round(flips.per_target["poisoned"] * 300))
    assert votes.estimates["certified"].value < few.estimates["certified"].value
    plain, defended = (cell_of(results, defense, "").estimates["test_accuracy"].value for defense in ("none", "votes"))
    assert 0.6 < defended < plain  # what it costs


def test_a_poisoned_member_is_the_clean_one_to_the_bit_unless_its_part_is_touched(voted):
    """Both banks draw from the same keys, and what an attacker does not touch does not change."""
    import safetensors.numpy

    from privsec.training import partition

    results, out = voted
    cells = {cell.title: cell for cell in plan(VOTING).cells if cell.defense == "votes"}
    made = Work(plan(VOTING), Store(plan(VOTING).experiment, out), Narrator())
    for title in ("few", "few flips"):
        cell = cells[title]
        poisoned, clean = (made.banks.mixture(bank.digest) for bank in (cell.bank, cell.control))
        for m in range(4):
            before, after = (
                safetensors.numpy.load_file(next((out / "bank").glob(f"*{bank.digest}*/model-{m:05d}.safetensors")))
                for bank in (cell.control, cell.bank)
            )
            parameters = [name for name in before if not name.startswith("cleaned")]
            differ = {
                j for j in range(20) if any(not np.array_equal(before[name][j], after[name][j]) for name in parameters)
            }
            there = [
                {
                    (np.asarray(mixture.data.x)[n].tobytes(), int(mixture.data.y[n]))
                    for n in np.flatnonzero(mixture.include[m] & mixture.counts)
                }
                for mixture in (clean, poisoned)
            ]
            touched = [np.frombuffer(x, np.float32) for x, _ in there[0] ^ there[1]]
            assert differ == set(partition.part_of([d for x in touched for d in partition.digests(x[None])], 20))
            changes = poisoned.changes(clean)
            assert len(differ) <= changes[m] < 20
        np.testing.assert_array_equal(cell_of(results, "votes", title).per_target["changes"], changes)
        assert changes.any()


def test_a_wrong_certificate_is_found_out(voted, quiet, monkeypatch):
    """Votes that are claimed to be unanimous prove too much."""
    _, out = voted
    honest = case._voted
    monkeypatch.setattr(case, "_voted", lambda *given: np.eye(10, dtype=int)[np.argmax(honest(*given), axis=-1)] * 1000)
    results = run({**VOTING, "title": "Faked"}, out=out, narrator=quiet)
    cell = cell_of(results, "votes", "badnets")
    assert cell.status == "failed" and "implemented wrongly" in cell.reason
    assert cell_of(results, "none", "badnets").status == "ok"


def test_a_defense_of_the_data_sees_all_parts_at_once():
    both = [{"name": "spectral_signatures"}, {"name": "partition_aggregation"}]
    with pytest.raises(ConfigError, match="certificate breaks"):
        plan({**TINY, "defenses": {"both": both}})
    both[1]["partitions"] = 1
    assert plan({**TINY, "defenses": {"both": both}}).cells


@pytest.mark.parametrize("behind", [{"name": "rounding", "decimals": 1}, {"name": "input_rounding"}])
def test_nothing_is_proven_behind_what_changes_answers(behind, tmp_path, quiet):
    given = {
        **TINY,
        "population": {"models": 4, "size": 100, "points": 30},
        "defenses": {"votes": [{"name": "partition_aggregation", "partitions": 4}, behind]},
        "attacks": TINY["attacks"][:1],
    }
    (cell,) = [cell for cell in run(given, out=tmp_path, narrator=quiet).cells if cell.attack]
    assert cell.status == "ok" and "certified" not in cell.estimates
