from __future__ import annotations

from privsec.report.reading import Reading
from privsec.report.verdict import judge
from privsec.report.wording import number

LOW, HIGH = [0.01, -0.01, 0.0, 0.005, -0.005, 0.0], [0.40, 0.42, 0.41, 0.39, 0.40, 0.41]
GOOD, POOR = [0.95, 0.95, 0.94, 0.96, 0.95, 0.95], [0.75, 0.76, 0.74, 0.75, 0.75, 0.76]


def judged(folder, cells, accuracies=None, **config):
    """`cells`: (defense, attack) -> advantages, or a (status, reason)."""
    defenses = dict.fromkeys(defense for defense, _ in cells)
    folder.config.update(
        defenses={d: [] if d == "none" else [{"name": "x"}] for d in defenses},
        attacks=[{"name": a} for a in dict.fromkeys(attack for _, attack in cells)],
        **config,
    )
    for (defense, attack), given in cells.items():
        if isinstance(given, tuple):
            folder.add(defense, attack, status=given[0], reason=given[1])
        else:
            folder.add(defense, attack, {"advantage": given})
    for defense, values in (accuracies or {}).items():
        folder.add(defense, "", {"test_accuracy": values}, family="utility")
    verdict = judge(Reading(folder.results()))
    return verdict, " ".join((verdict.headline, *verdict.sentences)).replace("\u00a0", " ").replace(
        "\N{MINUS SIGN}", "-"
    )


def test_a_leak_is_named_with_attack_interval_and_n(folder):
    verdict, text = judged(folder, {("none", "loss"): LOW, ("none", "lira"): HIGH})
    assert verdict.state == "leak"
    assert "lira" in verdict.headline and "0.41 [0.40, 0.41], n = 3" in text
    assert "No defense was measured" in text


def test_membership_is_said_in_shares_of_records_where_the_rate_is_known(folder):
    folder.config.update(defenses={"none": []}, attacks=[{"name": "lira"}])
    folder.add("none", "lira", {"advantage": HIGH, "tpr_at_1pct_fpr": [a + 0.01 for a in HIGH]})
    headline = judge(Reading(folder.results())).headline.replace("\u00a0", " ")
    assert "lira names 41.5% [40.7, 42.3] of them while wrongly accusing 1% of the others" in headline


def test_a_larger_figure_that_may_be_noise_does_not_hide_a_certain_leak(folder):
    verdict, text = judged(folder, {("none", "noisy"): [2.0, -1.0, 2.0, -1.0, 2.0, -1.0], ("none", "lira"): HIGH})
    assert verdict.state == "leak" and "lira recognizes training records with advantage 0.41" in text


def test_no_leak_is_bounded_to_the_attacks_that_ran(folder):
    verdict, text = judged(folder, {("none", "loss"): LOW, ("none", "lira"): [-x for x in LOW]})
    assert verdict.state == "held"
    assert "no attack of this run did measurably better than chance" in text and "not for every attack" in text


def test_a_leak_on_average_is_told_though_nobody_is_named_at_low_false_positives(folder):
    folder.config.update(defenses={"none": []}, attacks=[{"name": "loss"}])
    folder.add("none", "loss", {"advantage": LOW, "auc": [0.60, 0.61, 0.60, 0.59, 0.60, 0.61]})
    verdict = judge(Reading(folder.results()))
    assert verdict.state == "leak"
    assert "over all records loss ranks members above others with AUC" in verdict.headline


def test_nothing_measured_is_not_called_safe(folder):
    verdict, text = judged(folder, {("none", "lira"): ("failed", "boom"), ("dp", "lira"): ("not_applicable", "no")})
    assert verdict.state == "unmeasured"
    assert "says nothing about how safe" in text
    assert verdict.keys[-1].value == "0 of 2" and "1 failed; 1 not applicable" in verdict.keys[-1].note


def test_the_best_defense_and_its_price(folder):
    cells = {("none", "lira"): HIGH, ("dp", "lira"): LOW, ("weak", "lira"): [x - 0.104 for x in HIGH]}
    verdict, text = judged(folder, cells, {"none": GOOD, "dp": POOR, "weak": GOOD})
    assert verdict.best == "dp"
    assert (
        "dp buys most" in text and "within noise of chance" in text and "It costs test accuracy: -19.8 points" in text
    )
    assert "Of the defenses that cost no measurable accuracy, weak helps most: lira is left with advantage 0.30" in text
    assert [key.value for key in verdict.keys[:3]] == ["0.41", "0.00", "\N{MINUS SIGN}19.8"]


def test_between_equally_strong_defenses_the_more_accurate_wins(folder):
    cells = {("none", "lira"): HIGH, ("costly", "lira"): [x - 0.001 for x in LOW], ("cheap", "lira"): LOW}
    verdict, text = judged(folder, cells, {"none": GOOD, "costly": POOR, "cheap": GOOD})
    assert verdict.best == "cheap" and "costs no measurable test accuracy" in text


def test_a_loss_that_few_models_cannot_tell_from_none_is_not_called_none(folder):
    cells = {("none", "lira"): HIGH, ("dp", "lira"): LOW}
    shaky = [x - loss for x, loss in zip(GOOD, [0.2, 0.2, 0.0, 0.0, 0.05, 0.05], strict=True)]
    verdict, text = judged(folder, cells, {"none": GOOD, "dp": shaky})
    assert verdict.best == "dp" and "Whether it costs test accuracy is not resolved: -8.3 points" in text
    assert "no measurable" not in text


def test_a_defense_that_leaks_measurably_more_does_not_win_by_accuracy_though_intervals_overlap(folder):
    """Pairs of models differ much, and on each of them one defense leaves more than the other."""
    few = [0.05, 0.05, 0.45, 0.45, 0.25, 0.25]
    more = [x + y for x, y in zip(few, [0.11, 0.11, 0.10, 0.10, 0.09, 0.09], strict=True)]
    better = [x + 0.03 for x in GOOD]
    cells = {("none", "badnets"): [0.99, 0.98] * 3, ("pruning", "badnets"): more, ("neighbors", "badnets"): few}
    verdict, text = judged(folder, cells, {"none": better, "pruning": better, "neighbors": GOOD})
    assert verdict.best == "neighbors" and "neighbors buys most" in text
    assert "Of the defenses that cost no measurable accuracy, pruning helps most" in text


def test_a_hair_of_accuracy_does_not_outweigh_a_smaller_figure(folder):
    """Neither the leaks nor the accuracies differ measurably: then the leaks decide."""
    cells = {
        ("none", "badnets"): [0.99, 0.98] * 3,
        ("pruning", "badnets"): [0.2, 0.2, 0.6, 0.6, 0.4, 0.4],
        ("neighbors", "badnets"): [0.3, 0.3, 0.2, 0.2, 0.3, 0.3],
    }
    hair = [0.96, 0.94, 0.95, 0.96, 0.95, 0.96]
    verdict, _ = judged(folder, cells, {"none": GOOD, "pruning": hair, "neighbors": GOOD})
    assert verdict.best == "neighbors"


def test_a_smaller_figure_that_is_passed_over_is_told_with_the_reason(folder):
    cells = {
        ("none", "badnets"): [0.99, 0.98] * 3,
        ("pruning", "badnets"): [0.2, 0.2, 0.6, 0.6, 0.4, 0.4],
        ("neighbors", "badnets"): [0.3, 0.3, 0.2, 0.2, 0.3, 0.3],
    }
    verdict, text = judged(folder, cells, {"none": GOOD, "pruning": GOOD, "neighbors": POOR})
    assert verdict.best == "pruning"
    assert "neighbors leaves badnets with advantage 0.27" in text
    assert "not measurably less, and has less test accuracy: -19.8 points" in text


def test_a_defense_that_changes_nothing_is_not_praised(folder):
    cells = {("none", "lira"): HIGH, ("idle", "lira"): [0.41, 0.41, 0.41, 0.40, 0.40, 0.41]}
    _, text = judged(folder, cells, {"none": GOOD, "idle": GOOD})
    assert "None of the defenses measured (idle) lowers the worst leak measurably." in text


def test_a_defense_on_which_an_attack_failed_yields_to_one_that_was_tested(folder):
    cells = {
        ("none", "lira"): HIGH,
        ("none", "rmia"): HIGH,
        ("unproven", "lira"): LOW,
        ("unproven", "rmia"): ("failed", "out of memory"),
        ("proven", "lira"): [0.1, 0.11, 0.1, 0.1, 0.11, 0.1],
        ("proven", "rmia"): LOW,
    }
    assert judged(folder, cells)[0].best == "proven"


def test_attacks_that_do_not_apply_are_disclosed(folder):
    cells = {
        ("none", "lira"): HIGH,
        ("none", "labels"): LOW,
        ("label-only", "lira"): ("not_applicable", "needs scores"),
        ("label-only", "labels"): LOW,
    }
    _, text = judged(folder, cells, {"none": GOOD, "label-only": GOOD})
    assert "1 of 2 attacks do not apply to label-only" in text


def test_without_an_undefended_model_the_gain_is_called_unknown(folder):
    verdict, text = judged(folder, {("dp", "lira"): LOW, ("weak", "lira"): HIGH})
    assert verdict.state == "leak"
    assert "what the defenses buy is unknown" in text and "The largest leak is lira on weak" in text


def test_numbers_have_a_true_minus_and_no_negative_zero():
    assert (
        number(-0.5, "share") == "\N{MINUS SIGN}50.0%"
        and number(-0.0004) == "0.00"
        and number(0.0, sign=True) == "0.00"
    )
