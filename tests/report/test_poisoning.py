"""Poisoning in the report: pictures of what was planted, a detector's curve, and what it took out."""

from __future__ import annotations

import numpy as np
import pytest

from privsec.core.evidence import Triggered
from privsec.measures import poisoning
from privsec.report import poisoning as pictures
from privsec.report.pictured import pictured
from privsec.report.reading import Reading
from tests.report.test_pictured import pixels, said

CONFIG = {
    "defenses": {"none": [], "spectral": [{"name": "spectral_signatures"}]},
    "attacks": [{"name": "badnets"}, {"name": "label_flip"}],
    "seeds": [0],
}


def planted(looked: bool, tamed: bool = False, shape=(4, 4, 1)):
    """Ten records with a white corner, which two models take for class 0 - unless somebody looked at the training."""
    rng = np.random.default_rng(0)
    x = rng.uniform(0.2, 0.5, (10, *shape)).astype(np.float32)
    with_trigger = x.copy()
    with_trigger.reshape(10, -1)[:, -1] = 1.0
    y = np.full((2, 10), 2, np.int32)
    given = np.ones((2, 40), bool)
    poisoned = np.arange(40) >= 36
    suspicion = np.tile(np.where(poisoned, np.arange(40.0), np.arange(40.0) % 36), (2, 1))
    truth = poisoning.PoisonTruth(
        called=np.zeros((2, 10), int) if not tamed else y,
        control=y,
        accuracy=np.ones(2),
        control_accuracy=np.ones(2),
        rejected=None,
        given=given,
        poisoned=poisoned,
        kept=(suspicion < 36) if looked else None,
        suspicion=suspicion if looked else None,
    )
    both = np.broadcast_to(with_trigger, (2, *with_trigger.shape))
    evidence = Triggered(both, y, np.zeros((2, 10), np.int32), np.tile(np.arange(10), (2, 1)))
    arrays = {
        **poisoning.exhibits(evidence, truth),
        "before": x,
        "planted": with_trigger[:6],
        "planted_y": np.zeros(6, np.int32),
    }
    return poisoning.measure(evidence, truth), arrays


@pytest.fixture
def reading(folder):
    folder.config.update(CONFIG)
    facts = {"kind": "poisoning", "rejected": None, "rate": 0.1}
    for defense, looked in (("none", False), ("spectral", True)):
        for attack in ("badnets", "label_flip"):
            values, arrays = planted(looked, tamed=looked)
            folder.add(defense, attack, values, family="poisoning", arrays=arrays, facts=facts)
    return Reading(folder.results())


def test_a_detector_that_ranks_all_poison_first_finds_it_without_a_false_alarm(reading):
    legend, panels = pictures.curves(reading)
    assert [text for _, text in legend] == ["badnets", "label_flip"]
    ((defense, note, svg),) = panels
    assert (defense, note) == ("spectral", "n = 2 models")
    assert said(svg) == "badnets: from 1.000 to 1.000; label_flip: from 1.000 to 1.000"


def test_a_detector_without_a_clue_is_the_diagonal():
    """Where the poison is as suspicious as the rest, the share found is the share of false alarms."""
    rng = np.random.default_rng(0)
    arrays = {"clean_suspicion": rng.random(4000), "poison_suspicion": rng.random(4000)}
    alarms = np.linspace(0, 1, 21)
    found = pictures._found(type("Cell", (), {"arrays": arrays})(), alarms)  # type: ignore[arg-type]
    np.testing.assert_allclose(found, alarms, atol=0.04)


def test_a_sheet_shows_the_trigger_and_what_both_models_say(reading):
    sheet = pictures.sheets(reading)[0]
    rows, words = dict(sheet.rows), dict(sheet.words)
    assert list(rows) == ["planted in the training set", "test record", "as asked"]
    assert pixels(rows["as asked"][0])[-1, -1] == 1 and pixels(rows["test record"][0])[-1, -1] < 0.6
    assert set(words["called by the poisoned model"]) == set(words["wanted"])
    assert set(words["called by the model without the poison"]) == set(sheet.classes)
    assert len(pictures.sheets(reading)) == 4, "each attack under each defense that changes the answers"


def test_of_an_attack_with_two_targets_more_is_planted_than_asked(folder):
    folder.config.update(CONFIG)
    values, arrays = planted(looked=False)
    arrays |= {name: arrays[name][:2] for name in ("asked", "y", "goal", "called", "control", "before")}
    folder.add("none", "badnets", values, family="poisoning", arrays=arrays, facts={"kind": "poisoning", "rate": 0.1})
    (sheet,) = pictures.sheets(Reading(folder.results()))
    assert [len(uris) for _, uris in sheet.rows] == [6, 2, 2] and sheet.shown == 2
    assert sheet.classes[2:] == [""] * 4
    page = folder.results().report().read_text()
    assert page.count("planted in the training set, ") == 6


def test_defenses_share_a_sheet_only_where_all_models_answer_alike(folder):
    folder.config.update(CONFIG)
    for defense in ("none", "spectral"):
        values, arrays = planted(looked=False)
        arrays["won"][1] = defense == "none"  # what the second model answers is not pictured, but counted
        folder.add(
            defense, "badnets", values, family="poisoning", arrays=arrays, facts={"kind": "poisoning", "rate": 0.1}
        )
    assert [sheet.defenses for sheet in pictures.sheets(Reading(folder.results()))] == ["none", "spectral"]


def test_the_table_says_what_was_taken_out(reading):
    (table,) = pictures.tables(reading)
    assert [row[:2] for row in table.rows] == [["spectral", "badnets"], ["spectral", "label_flip"]]
    assert table.rows[0][2:] == ["100.0%", "0.0%", "100.0%", "100.0%", "0.0%"]


def test_accuracy_by_class_says_who_loses_and_by_how_much(folder):
    folder.config.update(CONFIG)
    folder.record["data"] = {"class_names": ["ham", "spam", "junk", "void"]}
    values, arrays = planted(looked=False)
    without = np.tile(np.float32([0.9, 0.8, 0.7, np.nan]), (4, 1))
    lost = np.outer(np.float32([0.10, 0.12, 0.14, 0.16]), np.float32([0, 5, 1, 0]))
    arrays |= {"class_accuracy": without - lost, "unpoisoned_class_accuracy": without}
    folder.add("none", "badnets", values, family="poisoning", arrays=arrays, facts={"kind": "poisoning", "rate": 0.1})
    (table,) = (t for t in pictures.tables(Reading(folder.results())) if t.title == "Accuracy by class")
    assert [row[:3] for row in table.rows] == [["none", "badnets", "spam"], ["none", "badnets", "junk"]]
    assert table.note.endswith("the 2 of 3 classes that lose most"), "a class without a record is none"
    spam = table.rows[0]
    assert (
        spam[3].startswith("15.0% [") and spam[4].startswith("80.0% [") and spam[5].startswith("\N{MINUS SIGN}65.0% [")
    )


def test_one_pair_of_models_has_no_interval_by_class(folder):
    folder.config.update(CONFIG)
    values, arrays = planted(looked=False)
    arrays |= dict.fromkeys(("class_accuracy", "unpoisoned_class_accuracy"), np.tile(np.float32([0.9, 0.8]), (2, 1)))
    folder.add("none", "badnets", values, family="poisoning", arrays=arrays, facts={"kind": "poisoning", "rate": 0.1})
    (table,) = pictures.tables(Reading(folder.results()))
    assert [row[3:] for row in table.rows] == [["90.0%", "90.0%", "0.0%"], ["80.0%", "80.0%", "0.0%"]]


def test_no_table_by_class_of_a_run_that_kept_none(reading):
    assert "Accuracy by class" not in [table.title for table in pictures.tables(reading)]


def test_the_section_is_on_the_page_only_where_something_was_planted(reading, folder):
    assert "poisoning" in [section.id for section in pictured(reading)]
    assert "What was planted" in next(section.title for section in pictured(reading) if section.id == "poisoning")
