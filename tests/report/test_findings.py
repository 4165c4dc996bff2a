from __future__ import annotations

import numpy as np

from privsec.report.catalog import ORDER
from privsec.report.findings import find
from privsec.report.reading import FAMILIES, Reading
from privsec.report.verdict import judge


def found(folder, code):
    return [finding for finding in find(Reading(folder.results())) if finding.code == code]


def test_every_family_ends_as_tested_or_as_not_tested(full_run):
    findings = find(Reading(full_run))
    assert [f.outcome for f in findings if f.code == "PS001"] == ["leak", "held"]
    text = " ".join(f.title + " ".join(f.evidence) for f in findings)
    assert all(family in text.lower() for family in FAMILIES)
    assert [ORDER.index(f.severity) for f in findings] == sorted(ORDER.index(f.severity) for f in findings)


def test_every_finding_says_what_to_do_and_leaks_carry_their_identifiers(full_run):
    for finding in find(Reading(full_run)):
        assert finding.title and finding.text and finding.action
        if finding.outcome in ("leak", "held"):
            assert any("AML.T0024" in name for name in finding.identifiers) and finding.evidence


def test_severity_follows_the_advantage(folder):
    folder.config.update(defenses={"none": []}, attacks=[{"name": "lira"}])
    folder.add("none", "lira", {"advantage": [0.02, 0.021, 0.022, 0.02]})
    assert [(f.outcome, f.severity) for f in found(folder, "PS001")] == [("leak", "low")]


def test_a_leak_on_average_is_not_called_held(folder):
    folder.config.update(defenses={"none": []}, attacks=[{"name": "loss"}])
    folder.add("none", "loss", {"advantage": [0.01, -0.01, 0.0, 0.0], "auc": [0.60, 0.61, 0.60, 0.59]})
    (finding,) = found(folder, "PS001")
    assert (finding.outcome, finding.severity) == ("leak", "low") and "on average" in finding.title


def test_a_defense_that_hurts_is_named_with_what_it_helps(full_run):
    (finding,) = [f for f in find(Reading(full_run)) if f.code == "PS011"]
    assert finding.title == "weight-decay makes entropy stronger" and "helps against lira" in finding.text


def test_accuracy_paid_for_nothing(folder):
    rng = np.random.default_rng(0)
    folder.config.update(defenses={"none": [], "idle": [{"name": "x"}]}, attacks=[{"name": "lira"}])
    for defense, accuracy in (("none", 0.9), ("idle", 0.8)):
        folder.add(defense, "", {"test_accuracy": accuracy + 0.01 * rng.normal(size=8)}, family="utility")
        folder.add(defense, "lira", {"advantage": 0.4 + 0.01 * rng.normal(size=8)})
    (finding,) = found(folder, "PS012")
    assert "idle costs accuracy" in finding.title and "\N{MINUS SIGN}" in finding.evidence[0]


def test_members_that_differ_without_the_model(folder):
    folder.config.update(defenses={"none": []}, attacks=[{"name": "lira"}])
    folder.add("none", "lira", {"advantage": [0.3, 0.3, 0.31, 0.3], "null_auc": [0.61, 0.6, 0.62, 0.6]})
    assert [f.severity for f in found(folder, "PS020")] == ["high"]


def test_failed_and_inapplicable_cells_are_listed_with_their_reasons(full_run):
    by_code = {f.code: f for f in find(Reading(full_run))}
    assert by_code["PS030"].evidence == ("dp-1 / label-only: out of memory after 4,096 queries",)
    assert "rounding / mi_face: rounding leaves scores, mi_face needs weights" in by_code["PS032"].evidence


def test_a_cell_that_failed_for_one_seed_keeps_its_figure_and_its_warning(folder):
    folder.config.update(defenses={"none": []}, attacks=[{"name": "lira"}], seeds=[0, 1])
    folder.add("none", "lira", {"advantage": [0.3, 0.3, 0.31, 0.3]}, seed=0)
    folder.add("none", "lira", seed=1, status="failed", reason="killed")
    reading = Reading(folder.results())
    entry = reading.entry("none", "lira", "advantage")
    assert entry.resolved and entry.reason == "1 of 2 seeds without a value: killed"
    assert found(folder, "PS030")


def test_remarks_of_attacks_reach_the_report(folder):
    folder.config.update(defenses={"none": []}, attacks=[{"name": "lira"}])
    folder.add("none", "lira", {"advantage": [0.3, 0.3, 0.31, 0.3]})
    folder.cells[-1].facts["warnings"] = ["scores are rounded: resolution-limited"]
    assert found(folder, "PS025")[0].evidence == ("none / lira: scores are rounded: resolution-limited",)


def copied(folder, **counts):
    folder.config.update(defenses={"none": []}, attacks=[{"name": "lira"}])
    folder.add("none", "lira", {"advantage": [0.3, 0.3, 0.31, 0.3]})
    folder.record["data"].update(candidates=1200, copies=counts)
    return found(folder, "PS026")


def test_copies_across_splits_are_a_finding(folder):
    (told,) = copied(folder, equal=40, near=90, public=7, across=0.06)
    assert told.severity == "medium"
    assert [line.replace("\u00a0", " ") for line in told.evidence] == [
        "40 of 1,200 candidates equal another one",
        "90 equal another one, or nearly so",
        "7 equal a record of the attacker's or the defender's own",
        "6.0% of the records outside a training set have a copy inside",
    ]


def test_few_copies_weigh_less_and_none_are_no_finding(folder):
    assert copied(folder, equal=2, public=0, across=0.001)[0].severity == "low"


def test_no_copies_are_no_finding(folder):
    assert not copied(folder, equal=0, near=0, public=0, across=0.0)


def test_an_interval_that_allows_everything_is_neither_a_leak_nor_good_news(folder):
    folder.config.update(defenses={"none": []}, attacks=[{"name": "gradient_inversion"}], seeds=[0])
    folder.add("none", "gradient_inversion", {"advantage": [1.0]}, family="inversion")
    results = folder.results()
    table = results.table
    table.loc[table["measure"] == "advantage", ["low", "high"]] = [-1.0, 1.0]
    reading = Reading(results)
    (found,) = [finding for finding in find(reading) if finding.code == "PS002"]
    assert found.outcome == "warning" and "too small a run to tell" in found.title and "more models" in found.action
    verdict = judge(reading)
    assert verdict.state == "unmeasured" and "too small to tell" in verdict.headline
