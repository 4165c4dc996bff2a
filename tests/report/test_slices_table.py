from __future__ import annotations

import pandas as pd
import pytest

from privsec.report import page, slices
from privsec.report.reading import Reading
from privsec.runner.slices import COLUMNS
from tests.report.test_page import Page

MEASURES = ("advantage", "auc", "tpr_at_1pct_fpr", "tpr_at_global_threshold", "fpr_at_global_threshold")


def rows(defense, attack, attribute, name, gap, p):
    shared = {"defense": defense, "attack": attack, "attribute": attribute, "slice": name, "members": 1300}
    for measure in (*MEASURES, "auc_against_rest"):
        value = gap if measure == "auc_against_rest" else 0.7
        numbers = {"value": value, "low": value - 0.1, "high": value + 0.1, "n": 8, "seed": "all", "reason": ""}
        if measure == "tpr_at_1pct_fpr":
            numbers |= {"value": None, "low": None, "high": None, "n": 0, "reason": "too few of them"}
        yield {**shared, **numbers, "measure": measure, "p_holm": p if measure == "auc_against_rest" else None}


@pytest.fixture
def sliced(folder):
    """Two attacks of which loss is the stronger; ten classes and two wards."""
    folder.config.update(defenses={"none": [], "dp": []}, attacks=[{"name": "loss"}, {"name": "entropy"}])
    for defense in ("none", "dp"):
        folder.add(defense, "loss", {"advantage": [0.4, 0.41, 0.4, 0.42]})
        folder.add(defense, "entropy", {"advantage": [0.1, 0.11, 0.1, 0.12]})
    results = folder.results()

    def write(*made):
        table = pd.DataFrame([row for part in made for row in part], columns=pd.Index(COLUMNS))
        table.to_csv(results.folder / "slices.csv", index=False)
        return results

    return write


def test_what_differs_under_the_strongest_attack_is_shown(sliced, tmp_path):
    results = sliced(
        rows("none", "loss", "ward", "NA", 0.2, 0.0001),
        rows("none", "loss", "ward", "<b>north</b>", -0.2, 0.004),
        rows("none", "loss", "ward", "south", 0.01, 0.8),
        rows("none", "loss", "ward", "east", 0.01, None),
        rows("none", "entropy", "ward", "hidden", 0.9, 0.001),
        rows("dp", "loss", "ward", "quiet", 0.3, 0.06),
    )
    (table,) = slices.exposed(Reading(results)) or ()
    assert (table["defense"], table["attack"], table["differing"], table["of"]) == ("none", "loss", 2, 4)
    assert [name for name, _, _ in table["rows"]] == ["NA", "<b>north</b>"]
    html = page.write(results, tmp_path / "report.html").read_text()
    text = Page(html).text
    assert "+0.200" in text and "p < 0.001" in text and "p = 0.004" in text and "too few of them" in text
    assert "<b>north</b>" in text and "hidden" not in text.split("Findings")[-2] and "1,300" in text
    assert page.write(results, tmp_path / "again.html").read_text() == html


def test_of_many_the_farthest_are_shown(sliced, tmp_path):
    results = sliced(*(rows("none", "loss", "class", f"class {k}", (k - 10) / 20, 0.01) for k in range(21)))
    (table,) = slices.exposed(Reading(results)) or ()
    names = [name for name, _, _ in table["rows"]]
    assert names == [f"class {k}" for k in (20, 19, 18, 17, 3, 2, 1, 0)] and table["differing"] == 21
    assert "the 8 farthest are shown" in Page(page.write(results, tmp_path / "report.html").read_text()).text


def test_where_nothing_differs_the_page_says_so_and_without_slices_it_is_silent(sliced, folder, tmp_path):
    results = sliced(rows("none", "loss", "ward", "south", 0.01, 0.8))
    assert "No class or group could be told" in page.write(results, tmp_path / "report.html").read_text()
    sliced()
    assert slices.exposed(Reading(results)) == []
    (results.folder / "slices.csv").unlink()
    assert slices.exposed(Reading(results)) is None
    assert 'id="slices"' not in page.write(results, tmp_path / "report.html").read_text()
