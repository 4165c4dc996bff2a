"""Each family is shown in its own form, and what stands in the pictures is what stands in the evidence."""

from __future__ import annotations

import base64
import html
import re
import xml.etree.ElementTree as ET
import zlib
from typing import Any

import numpy as np
import pytest

from privsec.core.evidence import Perturbed, Predictions, Program
from privsec.measures import attributes, evasion, reprogramming
from privsec.measures.outcomes import EvasionTruth
from privsec.report import evasion as pictures_of_evasion
from privsec.report import extraction, page, rebuilt
from privsec.report import reprogramming as pictures_of_programs
from privsec.report.pictured import pictured
from privsec.report.reading import Reading

RADIUS = 0.1
EVIL = '<script>alert("x")</script>'
CONFIG: dict[str, Any] = {
    "defenses": {"none": [], "rounding": [{"name": "input_rounding"}]},
    "attacks": [{"name": "pgd"}, {"name": "fmn"}],
    "seeds": [0],
}


def evaded(shape=(4, 4, 1), lost=10, far=RADIUS, radius=RADIUS, certified=False):
    """Twenty points and two models: both err on the first two at once, and lose the next ones up to `lost`."""
    rng = np.random.default_rng(0)
    x = rng.uniform(0.3, 0.7, (20, *shape)).astype(np.float32)
    y = np.arange(20, dtype=np.int32) % 4
    clean = np.where(np.arange(20) < 2, (y + 1) % 4, y)
    called = np.where(np.arange(20) < lost, (y + 1) % 4, y)
    steps = far * rng.choice([-1, 1], (2, 20, *shape))
    both = np.stack([clean, clean])
    evidence = Perturbed(
        x=(x + steps).astype(np.float32),
        y=y,
        goal=np.full(20, -1),
        rows=np.arange(20) + 100,
        queries=np.ones((2, 20)),
        gradients=np.ones((2, 20)),
    )
    truth = EvasionTruth(
        x=x,
        called_clean=both,
        called=np.stack([called, called])[None],
        called_noise=both[None],
        norm="linf",
        radius=radius,
        low=np.zeros(shape, np.float32),
        high=np.ones(shape, np.float32),
        certified=(both, np.where(np.arange(20) < 8, 1.0, 0.0) * np.ones((2, 1))) if certified else None,
    )
    arrays = evasion.exhibits(evidence, truth)
    size = arrays["before"].shape
    return evasion.measure(evidence, truth), {
        **arrays,
        "saliency_before": rng.random(size),
        "saliency_after": rng.random(size),
    }


def add_evasion(folder, defense: str, attack: str, bounded: bool = True, features: Any = (), **described: Any):
    values, arrays = evaded(**described)
    radius = described.get("radius", RADIUS)
    facts = {"kind": "evasion", "radius": radius, "norm": "linf", "bounded": bounded, "rejected": None}
    folder.add(defense, attack, values, family="evasion", arrays=arrays, facts={**facts, "features": list(features)})
    return values, arrays


def said(svg: str) -> str:
    return html.unescape(re.findall(r"<desc[^>]*>(.*?)</desc>", svg)[0])


def pixels(uri: str) -> np.ndarray:
    """The gray values of a small picture, 0 to 1."""
    data = base64.b64decode(uri.removeprefix("data:image/png;base64,"))
    width, height = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    start = data.index(b"IDAT")
    raw = zlib.decompress(data[start + 4 : start + 4 + int.from_bytes(data[start - 4 : start], "big")])
    return np.frombuffer(raw, np.uint8).reshape(height, width + 1)[:, 1:] / 255


# Evasion.


def test_curves_say_what_stands_and_an_attack_of_one_radius_is_a_marker(folder):
    folder.config.update(CONFIG)
    add_evasion(folder, "none", "pgd")
    add_evasion(folder, "none", "fmn", bounded=False, lost=14, far=0.05)
    legend, panels = pictures_of_evasion.curves(Reading(folder.results()))
    assert [text for _, text in legend] == ["fmn", "pgd"], "the strongest first"
    assert "<line" in legend[0][0] and "<rect" in legend[1][0]
    ((defense, note, svg),) = panels
    assert (defense, note) == ("none", "n = 2 models")
    assert said(svg) == "pgd: 0.500 at 0.1; fmn: from 0.900 to 0.300"
    ET.fromstring(svg.replace("<svg ", '<svg xmlns:xlink="http://www.w3.org/1999/xlink" ', 1))
    assert not re.search(r"#[0-9a-f]{6}", svg + legend[1][0]), "a color that dark mode cannot change"


def test_what_is_proven_is_drawn_once_below_the_attacks(folder):
    folder.config.update(CONFIG)
    add_evasion(folder, "none", "pgd", certified=True)
    add_evasion(folder, "none", "fmn", bounded=False, certified=True)
    legend, panels = pictures_of_evasion.curves(Reading(folder.results()))
    assert [text for _, text in legend][-1] == "proven, whatever the attack"
    assert said(panels[0][2]).startswith("proven: from 0.900 to 0.300") and said(panels[0][2]).count("proven") == 1


def test_the_axis_ends_near_the_radius_however_far_an_attack_goes(folder):
    folder.config.update(CONFIG)
    add_evasion(folder, "none", "fmn", bounded=False, far=0.25)
    add_evasion(folder, "rounding", "fmn", bounded=False, far=0.25, radius=0.05)
    near, far = (said(svg) for _, _, svg in pictures_of_evasion.curves(Reading(folder.results()))[1])
    assert near == "fmn: from 0.900 to 0.500", "2.5 radii"
    assert far == "fmn: from 0.900 to 0.900", "5 radii are left out"


def test_a_sheet_shows_records_the_first_model_lost_and_what_was_moved(folder):
    folder.config.update(CONFIG)
    arrays = add_evasion(folder, "none", "pgd", lost=5)[1]
    (sheet,) = pictures_of_evasion.sheets(Reading(folder.results()))
    assert (sheet.attack, sheet.defenses, sheet.shown, sheet.of) == ("pgd", "none", 3, 20), "points 2, 3 and 4"
    words = dict(sheet.words)
    assert sheet.classes == words["called before"] == ["2", "3", "0"] and words["called after"] == ["3", "0", "1"]
    assert words["moved at most by"] == ["0.1"] * 3
    rows = dict(sheet.rows)
    at = [int(np.flatnonzero(arrays["shown"] == k)[0]) for k in (2, 3, 4)]
    for uri, k in zip(rows["after"], at, strict=True):
        np.testing.assert_allclose(pixels(uri), arrays["after"][0, k, ..., 0], atol=0.003)
    change = (arrays["after"][0, at[0]] - arrays["before"][at[0]])[..., 0]
    np.testing.assert_allclose(
        pixels(rows["moved (gray is not)"][0]), change / np.abs(change).max() / 2 + 0.5, atol=0.01
    )
    np.testing.assert_allclose(
        pixels(rows["the answer rests on, after"][0]), arrays["saliency_after"][at[0], ..., 0], atol=0.003
    )


def test_only_the_strongest_attack_is_pictured_and_equal_evidence_once(folder):
    folder.config.update(CONFIG)
    for defense in ("none", "rounding"):
        add_evasion(folder, defense, "pgd", lost=15)
        add_evasion(folder, defense, "fmn", bounded=False, lost=6)
    (sheet,) = pictures_of_evasion.sheets(Reading(folder.results()))
    assert (sheet.attack, sheet.defenses) == ("pgd", "none, rounding")


def test_without_saliency_or_a_lost_record_the_rest_is_shown(folder, tmp_path):
    folder.config.update(CONFIG)
    values, arrays = evaded()
    bare = {name: array for name, array in arrays.items() if not name.startswith("saliency")}
    facts = {"kind": "evasion", "radius": RADIUS, "bounded": True, "rejected": None}
    folder.add("none", "pgd", values, family="evasion", arrays=bare, facts=facts)
    add_evasion(folder, "rounding", "pgd", lost=2)
    folder.add("none", "fmn", family="evasion", status="failed", reason="out of memory")
    (section,) = pictured(Reading(folder.results()))
    assert len(section.panels) == 2 and [sheet.defenses for sheet in section.sheets] == ["none"]
    assert [name for name, _ in section.sheets[0].rows] == ["before", "after", "moved (gray is not)"]


def test_a_table_is_told_in_words_and_not_in_pictures(folder, tmp_path):
    folder.config.update(CONFIG)
    names = ("age", EVIL, "income", "debt", "zip")
    arrays = add_evasion(folder, "none", "pgd", shape=(5,), lost=4, features=names)[1]
    text = page.write(folder.results(), tmp_path / "report.html").read_text()
    assert "<img" not in text and "<script" not in text and html.escape(EVIL, quote=False) in text.replace("&#34;", '"')
    (table,) = pictures_of_evasion.tables(Reading(folder.results()))
    assert table.note == "seed 0, 2 of 20 points" and [row[0] for row in table.rows] == ["102", "103"]
    before, after = arrays["before"][0], arrays["after"][0, 0]
    first = int(np.argmax(np.abs(after - before)))
    assert table.rows[0][-1].startswith(f"{names[first]} {before[first]:.2f} to {after[first]:.2f}; ")
    assert table.rows[0][-1].endswith("; 2 more")


# Reprogramming.


def programmed(shape: tuple[int, ...] = (6, 6, 1)):
    """Two models that count 30 dots right in half of the records."""
    rng = np.random.default_rng(0)
    y = np.arange(30) % 3
    called = np.stack([np.where(np.arange(30) % 2, y, (y + 1) % 3), np.full(30, -1)])
    mapping = np.zeros((2, 4, 3), np.float32)
    mapping[:, [0, 1, 2, 3], [0, 1, 2, 2]] = 1
    evidence = Program(rng.normal(size=(2, *shape)).astype(np.float32), mapping, 2, 10.0)
    asked = rng.random((2, 30, *shape)).astype(np.float32)
    seen = reprogramming.Seen(asked[0], asked, rng.normal(size=(2, 30, 4)), rng.normal(size=(2, 30, 4)))
    truth = reprogramming.ReprogrammingTruth(y, called, called[:1].repeat(2, 0), y, 0, seen)
    arrays = reprogramming.exhibits(evidence, truth, rng.random((30, 2, 2, 1)))
    extra = {"saliency": rng.random((8, *shape)), "effect": rng.random(shape)}
    return reprogramming.measure(evidence, truth), {**arrays, **extra}


def test_a_program_stands_beside_the_records_inside_it(folder):
    folder.config.update(CONFIG, attacks=[{"name": "adversarial_program"}])
    values, arrays = programmed()
    facts = {"task_classes": ["one", "two", EVIL]}
    folder.add("none", "adversarial_program", values, family="reprogramming", arrays=arrays, facts=facts)
    (sheet,) = pictures_of_programs.sheets(Reading(folder.results()))
    assert sheet.classes == ["the program", "one", "two", EVIL, "one", "two"] and sheet.of == 30
    words = dict(sheet.words)
    assert words["answer, as the task's class"] == ["", "two", "two", "one", "one", EVIL]
    assert words["classes that stand for it"] == ["", "0", "1", "2, 3", "0", "1"]
    rows = dict(sheet.rows)
    assert rows["record of the task"][0] == "" and all(len(uris) == 6 for uris in rows.values())
    pattern = arrays["pattern"][0, ..., 0]
    shown = pixels(rows["what the model is asked"][0])
    np.testing.assert_allclose(shown, pattern / np.abs(pattern).max() / 2 + 0.5, atol=0.003)
    np.testing.assert_allclose(pixels(rows["what the answer rests on"][0]), arrays["effect"][..., 0], atol=0.003)


def test_a_program_for_a_table_is_its_map_of_labels(folder, tmp_path):
    folder.config.update(CONFIG, attacks=[{"name": "bar"}])
    values, arrays = programmed((9,))
    folder.add("none", "bar", values, family="reprogramming", arrays=arrays, facts={"task_classes": ["a", "b", EVIL]})
    reading = Reading(folder.results())
    assert not pictures_of_programs.sheets(reading)
    (table,) = pictures_of_programs.tables(reading)
    assert [row[:3] for row in table.rows] == [("a", "0", "10"), ("b", "1", "10"), (EVIL, "2, 3", "10")]
    assert {row[3] for row in table.rows} == {"50.0%"}
    text = page.write(folder.results(), tmp_path / "report.html").read_text()
    assert "<img" not in text and "<script" not in text


# Extraction, hidden attributes, gradients.


def test_extraction_draws_fidelity_by_budget_above_students_that_never_asked(folder):
    folder.config.update(CONFIG, attacks=[{"name": "knockoff"}])
    fidelity, null = np.array([[0.3, 0.6], [0.5, 0.8]]), np.array([[0.2, 0.4], [0.2, 0.6]])
    arrays = {"budgets": np.array([50, 500]), "fidelity": fidelity, "null_fidelity": null}
    folder.add("none", "knockoff", {"advantage": [0.3, 0.5]}, family="extraction", arrays=arrays)
    legend, panels = extraction.curves(Reading(folder.results()))
    assert [text for _, text in legend] == ["knockoff", "students that never asked"]
    assert said(panels[0][2]) == "knockoff, never asked: from 0.200 to 0.500; knockoff: from 0.400 to 0.700"


def test_the_values_of_an_attribute_stand_beside_imputation(folder):
    folder.config.update(CONFIG, attacks=[{"name": "attribute_inference"}])
    truth = attributes.AttributeTruth(np.array([0, 0, 1, 1]), np.ones((1, 4), bool))
    right = np.eye(2)[[0, 0, 1, 0]][None]
    guessed = Predictions(right, np.eye(2)[[0, 0, 0, 0]], 2.0)
    arrays, facts = attributes.exhibits(guessed, truth), {"attribute": EVIL, "values": ["no", EVIL]}
    folder.add(
        "none",
        "attribute_inference",
        attributes.measure(guessed, truth),
        family="inversion",
        arrays=arrays,
        facts=facts,
    )
    (section,) = pictured(Reading(folder.results()))
    (table,) = section.tables
    assert table.title == f"{EVIL}: attribute_inference on none"
    assert list(table.rows[0]) == ["no", "2", "100.0%", "100.0%", "66.7%", "50.0%"]
    assert list(table.rows[1]) == [EVIL, "2", "50.0%", "0.0%", "100.0%", "never guessed"]


@pytest.mark.parametrize("shape", [(4, 4, 1), (6,)])
def test_what_a_gradient_shows_stands_beside_the_nearest_public_record(folder, shape):
    folder.config.update(CONFIG, attacks=[{"name": "gradient_inversion"}])
    rng = np.random.default_rng(0)
    arrays = {name: rng.random((4, *shape)) for name in ("record", "nearest_public")}
    arrays |= {"x": rng.random((2, 4, *shape)), "y": np.arange(4), "psnr": np.array([[10.0, 20.04, 30.0, 40.0]] * 2)}
    for defense in ("none", "rounding"):
        folder.add(defense, "gradient_inversion", {"advantage": [0.5, 0.6]}, family="inversion", arrays=arrays)
    (sheet,) = rebuilt.sheets(Reading(folder.results()))
    assert (sheet.defenses, sheet.shown, sheet.of, sheet.image) == ("none, rounding", 4, 8, len(shape) == 3)
    assert sheet.words == [("PSNR in dB", ["10.0", "20.0", "30.0", "40.0"])]
    assert [name for name, _ in sheet.rows] == ["record", "rebuilt from its gradient", "most similar public record"]


# The page.


def test_a_page_of_every_family_has_its_sections_and_a_plane_for_each(folder, tmp_path):
    folder.config.update(CONFIG, attacks=[{"name": name} for name in ("pgd", "adversarial_program", "knockoff")])
    folder.record["class_names"] = [EVIL] * 4
    for defense, accuracy in (("none", 0.9), ("rounding", 0.8)):
        folder.add(defense, "", {"test_accuracy": [accuracy, accuracy + 0.01]}, family="utility")
        add_evasion(folder, defense, "pgd", lost=15 if defense == "none" else 8)
    values, arrays = programmed()
    facts = {"task_classes": [EVIL] * 3}
    folder.add("none", "adversarial_program", values, family="reprogramming", arrays=arrays, facts=facts)
    folder.add("none", "knockoff", family="extraction", status="failed", reason=EVIL)
    text = page.write(folder.results(), tmp_path / "report.html").read_text()
    assert "<script" not in text
    assert 'id="evasion"' in text and 'id="reprogramming"' in text and 'id="extraction"' not in text
    assert 'id="plane-evasion-title"' in text and 'id="plane-reprogramming-title"' in text
    assert 'id="plane-extraction-title"' not in text, "nothing was measured"
    assert "makes it err on records changed a little" in text
    assert "it differentiates past what hides the gradient" in text
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))


def test_runs_without_evidence_of_these_families_have_no_such_section(full_run):
    assert pictured(Reading(full_run)) == []
