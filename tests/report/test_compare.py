from __future__ import annotations

import io
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import rich.console

from privsec.report.compare import compare, summary, write_comparison


def runs(tmp_path, folder_class, shift, **config):
    made = []
    for name, drop in (("a", 0.0), ("b", shift)):
        rng = np.random.default_rng(0)
        settings = {"defenses": {"none": []}, "attacks": [{"name": "lira"}, {"name": f"only-{name}"}], "title": name}
        folder = folder_class(tmp_path / name, **{**settings, **(config if name == "b" else {})})
        base = 0.4 + 0.1 * rng.normal(size=12)
        folder.add("none", "", {"test_accuracy": 0.9 + 0.01 * rng.normal(size=12)}, family="utility")
        folder.add("none", "lira", {"advantage": base - drop + 0.001 * rng.normal(size=12)})
        folder.add("none", f"only-{name}", {"advantage": base})
        made.append(folder.results())
    return made


def row(found, attack, measure="advantage"):
    return next(r for r in found.rows if r.attack == attack and r.measure == measure)


def test_same_data_and_seeds_are_compared_target_by_target(tmp_path: Path, folder_class):
    found = compare(*runs(tmp_path, folder_class, 0.02))
    lira = row(found, "lira")
    assert found.paired and lira.change and lira.change.paired and lira.mark == "▼ better"
    assert "less in 1" in summary(found)


def test_other_seeds_are_compared_as_independent(tmp_path: Path, folder_class):
    found = compare(*runs(tmp_path, folder_class, 0.02, seeds=[7]))
    lira = row(found, "lira")
    assert not found.paired and lira.change and not lira.change.paired and lira.mark == "not significant"


def test_cells_of_one_run_are_shown_as_such(tmp_path: Path, folder_class):
    found = compare(*runs(tmp_path, folder_class, 0.0))
    for attack, side in (("only-a", "b"), ("only-b", "a")):
        missing = getattr(row(found, attack), side)
        assert missing.estimate is None and missing.reason == "not in this run" and row(found, attack).change is None


def test_settings_that_differ_are_listed(tmp_path: Path, folder_class):
    found = compare(*runs(tmp_path, folder_class, 0.0, population={"models": 12, "size": 600}))
    assert ("population.models", "8", "12") in found.settings and ("title", "a", "b") in found.settings


def test_lower_accuracy_is_worse(tmp_path: Path, folder_class):
    a, b = runs(tmp_path, folder_class, 0.0)
    lost = next(c for c in b.cells if c.family == "utility").per_target["test_accuracy"]
    lost -= 0.2
    b.table.loc[b.table["measure"] == "test_accuracy", ["value", "low", "high"]] -= 0.2
    assert row(compare(a, b), "", "test_accuracy").mark == "▼ worse"


def test_the_text_table_fits_a_terminal(tmp_path: Path, folder_class):
    out = io.StringIO()
    rich.console.Console(file=out, width=80).print(compare(*runs(tmp_path, folder_class, 0.02)))
    text = out.getvalue()
    assert "▼ better" in text and "not in this" in text and max(map(len, text.splitlines())) <= 80


def test_the_page_shows_both_runs_and_escapes_them(tmp_path: Path, folder_class):
    a, b = runs(tmp_path, folder_class, 0.02, title="<b>bold</b>")
    html = write_comparison(a, b, tmp_path / "compare.html").read_text()
    assert "<b>bold" not in html and "&lt;b&gt;bold" in html
    assert "not in this run" in html and "http" not in html
    HTMLParser().feed(html)
    assert html == write_comparison(a, b, tmp_path / "again.html").read_text()


def test_disjoint_runs_say_that_nothing_can_be_compared(tmp_path: Path, folder_class):
    a, b = runs(tmp_path, folder_class, 0.0, defenses={"dp": [{"name": "x"}]})
    b_cells = [cell for cell in b.cells if cell.attack != "lira"]
    folder = folder_class(tmp_path / "c", title="c", defenses={"dp": []}, attacks=[{"name": "only-b"}])
    folder.add("dp", "only-b", {"advantage": b_cells[-1].per_target["advantage"]})
    assert "nothing can be compared" in summary(compare(a, folder.results()))
