from __future__ import annotations

import numpy as np
import pytest

from privsec.core.estimate import Estimate
from privsec.report import changes
from privsec.report.reading import Reading
from privsec.runner import judge
from privsec.runner.results import CellResult


def two(folder, before, after, name="advantage"):
    folder.config.update(defenses={"none": [], "dp": [{"name": "x"}]}, attacks=[{"name": "lira"}])
    folder.add("none", "lira", {name: before})
    folder.add("dp", "lira", {name: after})
    return Reading(folder.results())


def test_pairing_removes_what_targets_share(folder):
    rng = np.random.default_rng(0)
    base = rng.normal(size=16)
    made = changes.change(two(folder, base, base - 0.1 + 0.001 * rng.normal(size=16)), "dp", "lira", "advantage")
    assert made and made.paired and made.estimate.n == 8
    assert made.estimate.high < -0.09 < made.estimate.high + 0.02 and made.p < 1e-6


def test_complementary_twins_count_once(folder):
    reading = two(folder, np.zeros(6), np.array([1.0, -1.0, 2.0, -2.0, 3.0, -3.0]))
    made = changes.change(reading, "dp", "lira", "advantage")
    assert made and made.estimate.value == 0 and made.estimate.n == 3 and made.p == 1


def test_different_numbers_of_targets_are_compared_unpaired(folder):
    made = changes.change(two(folder, [0.5, 0.52, 0.5, 0.48], [0.1, 0.11]), "dp", "lira", "advantage")
    assert made and not made.paired and made.estimate.value == pytest.approx(-0.395)


def test_the_unpaired_interval_of_symmetric_intervals_adds_variances():
    made = changes.unpaired(Estimate(0.5, 0.4, 0.6, 9), Estimate(0.2, 0.1, 0.3, 7))
    assert made.estimate.low == pytest.approx(-0.3 - 0.1 * np.sqrt(2))
    assert made.estimate.high == pytest.approx(-0.3 + 0.1 * np.sqrt(2))
    assert made.estimate.n == 7


def test_the_unpaired_p_value_agrees_with_its_interval():
    at_edge = changes.unpaired(
        Estimate(0.0, -0.1, 0.1, 9), Estimate(0.1 * np.sqrt(2), 0.1 * np.sqrt(2) - 0.1, 0.1 * np.sqrt(2) + 0.1, 9)
    )
    assert at_edge.estimate.low == pytest.approx(0, abs=1e-12) and at_edge.p == pytest.approx(0.05)


def test_no_baseline_no_change(folder):
    folder.config.update(defenses={"dp": [{"name": "x"}]}, attacks=[{"name": "lira"}])
    folder.add("dp", "lira", {"advantage": [0.1, 0.2]})
    assert changes.adjusted(Reading(folder.results())) == {}


def test_holm_is_taken_over_the_whole_table(full_run):
    table = changes.adjusted(Reading(full_run))
    raw = np.array([made.p for made, _ in table.values()])
    adjusted = np.array([p for _, p in table.values()])
    assert np.all(adjusted >= raw) and adjusted.min() == pytest.approx(min(1.0, raw.min() * len(raw)))


# Shares of the same points.


def of_points(won, null, rows=None, kind="evasion", seed=0) -> CellResult:
    """A cell whose targets have these points, bool [T, N], as a run leaves it."""
    won, null = np.asarray(won, float), np.asarray(null, float)
    s, s0, n = won.mean(axis=1), null.mean(axis=1), won.shape[1]
    names = {"evasion": ("success", "null_success"), "extraction": ("fidelity", "null_fidelity")}[kind]
    values = {
        "advantage": (s - s0) / np.maximum(1 - s0, 1 / n),
        **dict(zip(names, (s, s0), strict=True)),
        "clean_success": s0,
        "mistakes": np.full(len(s), 3.0),
        "points": np.full(len(s), float(n)),
    }
    if kind == "evasion":
        del values["mistakes"]
    else:
        del values["clean_success"]
    facts = {"kind": kind}
    cell = CellResult(seed, "d", "a", kind, "", "ok", "", judge.estimates(values, facts), values, facts, None)
    rows = np.arange(n) if rows is None else rows
    cell.__dict__["arrays"] = {"won": won, "null": null, "rows": rows}  # as if read from the file
    return cell


def drawn(rng, count, before, after, models=2):
    """Cells before and after a defense: a point is lost where its ease, and something of the model's own, allow it."""
    ease, own = rng.random(count), rng.normal(scale=0.15, size=(2, models, count))
    clean = np.broadcast_to(ease < 0.1, (models, count))
    return [of_points((ease + own[k] < level) | clean, clean) for k, level in enumerate((before, after))]


@pytest.mark.parametrize(("count", "before", "after"), [(60, 0.75, 0.5), (60, 0.6, 0.6), (200, 0.95, 0.85)])
def test_a_change_over_the_same_points_is_covered_and_tighter_than_unpaired(count, before, after):
    rng = np.random.default_rng(count)
    first, then = drawn(rng, 400_000, before, after)
    truth = then.estimates["advantage"].value - first.estimates["advantage"].value
    covered, significant, width, unpaired = [], [], [], []
    for _ in range(250):
        first, then = drawn(rng, count, before, after)
        made = changes.paired([first], [then], "advantage")
        assert made and made.paired and (made.estimate.n, made.counted) == (count, "points")
        covered.append(made.estimate.low <= truth <= made.estimate.high)
        significant.append(made.p < 0.05)
        width.append(made.estimate.high - made.estimate.low)
        loose = changes.unpaired(first.estimates["advantage"], then.estimates["advantage"]).estimate
        unpaired.append(loose.high - loose.low)
    assert np.mean(covered) > 0.95 - 3 * np.sqrt(0.95 * 0.05 / 250)
    assert np.mean(width) < 0.75 * np.mean(unpaired)
    if truth == pytest.approx(0, abs=0.005):
        assert np.mean(significant) < 0.05 + 3 * np.sqrt(0.95 * 0.05 / 250)


def test_the_p_value_crosses_one_in_twenty_where_the_interval_meets_zero():
    rng = np.random.default_rng(3)
    for level in np.linspace(0.4, 0.75, 30):
        first, then = drawn(rng, 60, 0.6, level)
        made = changes.of_points([first], [then])
        assert made and (made.p < 0.05) == (made.estimate.low > 0 or made.estimate.high < 0)


def test_the_same_answers_to_the_same_points_are_no_change():
    first, _ = drawn(np.random.default_rng(0), 40, 0.5, 0.5)
    made = changes.of_points([first], [first])
    assert made and made.estimate.value == 0 and made.p == 1
    assert made.estimate.high - made.estimate.low < 0.06, "what is left is how lopsided each side's interval is"


def test_what_saturates_keeps_an_interval():
    nothing, everything = np.zeros((2, 20)), np.ones((2, 20))
    made = changes.of_points([of_points(everything, nothing)], [of_points(nothing, nothing)])
    assert made and made.estimate.value == -1 and made.estimate.low <= -1 < made.estimate.high < -0.7


def test_other_points_are_compared_unpaired():
    rng = np.random.default_rng(0)
    first, then = drawn(rng, 40, 0.7, 0.5)
    then.arrays["rows"] = np.arange(40) + 1
    assert changes.paired([first], [then], "advantage") is None
    fewer = drawn(rng, 30, 0.7, 0.5)[1]
    assert changes.paired([first], [fewer], "advantage") is None
    assert changes.paired([first], [drawn(rng, 40, 0.7, 0.5)[1]], "success") is None, "points do not tell of it"
    then.arrays.clear()
    assert changes.paired([first], [then], "advantage") is None, "an older run"


def test_the_spread_of_models_widens_what_points_alone_would_say():
    rng = np.random.default_rng(1)
    null = np.zeros((4, 200))
    before = [of_points(rng.random((4, 200)) < 0.5, null)]
    alike = [of_points(rng.random((4, 200)) < 0.5, null)]
    apart = [of_points(rng.random((4, 200)) < np.array([[0.1], [0.1], [0.9], [0.9]]), null)]
    narrow, wide = (changes.of_points(before, after) for after in (alike, apart))
    assert narrow and wide
    assert wide.estimate.high - wide.estimate.low > 3 * (narrow.estimate.high - narrow.estimate.low)


def test_copies_and_several_seeds_are_paired_by_their_records():
    rng = np.random.default_rng(2)
    ease = rng.random((2, 1, 100))
    sides = [
        [
            of_points(np.repeat(ease[s], 2, 0) < level, np.repeat(ease[s], 2, 0) < 0.1, None, "extraction", s)
            for s in (0, 1)
        ]
        for level in (0.8, 0.5)
    ]
    made = changes.paired(*sides, "advantage")
    gaps = [b.per_target["advantage"].mean() - a.per_target["advantage"].mean() for a, b in zip(*sides, strict=True)]
    assert made and made.paired and made.estimate.value == pytest.approx(np.mean(gaps))
    assert made.estimate.high < 0
    assert changes.paired(sides[0], sides[1][:1], "advantage") is None


def test_the_worst_attacks_of_two_defenses_are_paired_where_they_had_the_same_points(folder):
    folder.config.update(
        defenses={"none": [], "dp": [{"name": "x"}]}, attacks=[{"name": "pgd"}, {"name": "fmn"}], seeds=[0]
    )
    first, then = drawn(np.random.default_rng(0), 60, 0.8, 0.5)
    for defense, strong, weak, cell in (("none", "pgd", "fmn", first), ("dp", "fmn", "pgd", then)):
        described = {"family": "evasion", "arrays": cell.arrays, "facts": {"kind": "evasion"}}
        folder.add(defense, strong, cell.per_target, **described)
        folder.add(defense, weak, {"advantage": [0.0, 0.0]}, family="evasion")
    reading = Reading(folder.results())
    made = changes.worst_change(reading, "dp")
    assert made and made.paired and made.estimate.high < 0
