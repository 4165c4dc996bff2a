"""Audits of numbers: what is shown, what is not, what is refused."""

from __future__ import annotations

import json

import jsonschema
import numpy as np
import pandas as pd
import pytest

from privsec.auditor.audit import audit
from privsec.auditor.record import AuditRecord, schema
from privsec.auditor.result import open_audit
from privsec.core.errors import ConfigError, DataError

N = 300


def normal(mean: float, size: int = N, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, int(100 * mean) + 1000]).normal(mean, 1, size)


def codes(found) -> dict[str, str]:
    return {caution.code: caution.severity for caution in found.record.cautions}


def test_memorized_scores_are_a_leak_with_figures_that_agree_with_the_truth():
    found = audit(normal(1), normal(0))
    assert found.verdict.level == "leak_shown"
    auc = found.record.worst["auc"]
    assert auc.low < 0.7602 < auc.high  # Phi(1 / sqrt 2)
    assert 0 < found.record.epsilon_lower.epsilon < found.record.epsilon_lower.ceiling
    assert found.record.epsilon_lower.grade == "heuristic" and "correlated-records" in codes(found)
    assert found.record.attacks[0].roc[0] == (0, 0) and found.record.attacks[0].roc[-1] == (1, 1)


def false_alarms(sizes: tuple[int, ...], trials: int) -> int:
    """Audits of noise, light-tailed and heavy-tailed, that show a leak all the same."""
    rng, shown = np.random.default_rng(1), 0
    for n in sizes:
        for trial in range(trials):
            scores = rng.normal(size=2 * n) if trial % 2 else rng.standard_t(2, size=2 * n)
            shown += audit(scores[:n], scores[n:], seed=trial).verdict.level != "no_leak_shown"
    return shown


def test_noise_is_not_called_a_leak_more_often_than_alpha():
    assert false_alarms((8, 20, 60), 40) <= 14  # P(more than 14 of 120 at 5%) < 0.2%


@pytest.mark.slow
def test_noise_is_not_called_a_leak_more_often_than_alpha_over_many_audits():
    sizes, trials = (5, 8, 12, 20, 40, 100, 300), 300
    total = len(sizes) * trials
    assert false_alarms(sizes, trials) <= 0.05 * total + 3 * np.sqrt(0.05 * 0.95 * total)


def test_many_attacks_at_once_keep_the_level():
    """Four attacks on answers that know nothing: the chance of calling any of them a leak is still at most 5%."""
    rng, shown = np.random.default_rng(2), 0
    for trial in range(20):
        logits, labels = rng.normal(size=(2, 60, 3)), rng.integers(0, 3, (2, 60))
        found = audit(logits[0], logits[1], what="logits", labels=labels, seed=trial)
        shown += found.verdict.level != "no_leak_shown"
    assert shown <= 4  # P(more than 4 of 20 at 5%) < 0.3%


def test_what_is_not_shown_is_not_called_safe():
    found = audit(normal(0, seed=3), normal(0, seed=4))
    assert found.verdict.level == "no_leak_shown"
    said = " ".join(found.verdict.sentences)
    assert "does not prove" in said and f"epsilon {found.record.epsilon_lower.ceiling:.2f}" in said


def test_losses_and_confidences_are_turned_the_right_way():
    confidence = [1 / (1 + np.exp(-normal(mean))) for mean in (1, 0)]
    as_confidence = audit(*confidence, what="confidence").record
    as_loss = audit(*(-np.log(side) for side in confidence), what="loss").record
    assert as_confidence.worst["auc"] == as_loss.worst["auc"]
    assert as_loss.worst["auc"].value > 0.7


def test_reversed_scores_make_the_audit_unusable_and_say_why():
    found = audit(normal(0), normal(1))
    assert codes(found)["scores-reversed"] == "invalid" and found.verdict.level == "unusable"
    assert "what='loss'" in " ".join(found.verdict.sentences)
    assert not audit(normal(0), normal(1), fail_if=["auc > 0.9"]).passed


def test_logits_are_attacked_in_several_ways_and_sliced_by_class_and_prediction():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, (2, N))
    logits = rng.normal(size=(2, N, 3))
    logits[0, np.arange(N), labels[0]] += 2
    found = audit(logits[0], logits[1], what="logits", labels=labels)
    assert {one.name for one in found.record.attacks} >= {"loss", "entropy", "modified_entropy", "correctness"}
    assert all(one.status == "ok" for one in found.record.attacks)
    assert {(part.attribute, part.value) for part in found.record.slices} == {
        *(("class", str(c)) for c in range(3)),
        ("prediction", "right"),
        ("prediction", "wrong"),
    }
    right = np.mean(logits[1].argmax(1) == labels[1])
    assert found.record.subject.accuracy["non_members"].value == pytest.approx(right)
    softmax = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    same = audit(softmax[0], softmax[1], what="probabilities", labels=labels).record
    assert same.worst["auc"].value == pytest.approx(found.record.worst["auc"].value, abs=1e-6)


def test_a_slice_that_leaks_more_is_found():
    rng = np.random.default_rng(0)
    sex = rng.integers(0, 2, (2, N))
    members = rng.normal(1.5 * sex[0], 1)
    found = audit(members, rng.normal(size=N), slices={"sex": sex})
    by = {part.value: part for part in found.record.slices}
    assert by["1"].measures["auc"].value > 0.75 > by["0"].measures["auc"].value and by["1"].p_value < 0.001


def test_the_records_most_at_risk_are_the_highest_members():
    members, others = normal(0, seed=3), normal(0, seed=4)
    members[[17, 5]] = [9.0, 8.0]
    found = audit(members, others, identifiers=([f"p{i}" for i in range(N)], [f"q{i}" for i in range(N)]))
    first, second = found.record.at_risk[:2]
    assert (first.row, first.identifier, first.rank, first.false_positive_rate) == (17, "p17", 1, 0.0)
    assert (second.row, second.score) == (5, 8.0)


def test_records_of_one_person_count_once():
    people = np.repeat(np.arange(40), 5)
    rng = np.random.default_rng(0)
    members, others = rng.normal(0.7, 1, 200), rng.normal(0, 1, 200)
    found = audit(members, others, groups=(people, people + 100))
    assert (found.record.subject.units, found.record.subject.members) == ("groups", 40)
    assert found.record.worst["auc"].n == 80
    means = members.reshape(40, 5).mean(1), others.reshape(40, 5).mean(1)
    assert found.record.worst["auc"].value == pytest.approx(np.mean(means[0][:, None] > means[1][None]))
    with pytest.raises(DataError, match="all or nothing"):
        audit(members, others, groups=(people, people))


def test_members_from_another_distribution_are_noticed_by_the_blind_baseline():
    x = np.random.default_rng(0).normal(size=(2, N, 5))
    scores = normal(1), normal(0)
    assert "distribution-shift" not in codes(audit(*scores, features=x))
    shifted = audit(normal(2), normal(0), features=(x[0] + 0.2, x[1]))
    assert shifted.record.blind.low > 0.5 and codes(shifted)["distribution-shift"] == "warning"
    assert shifted.verdict.level == "leak_shown" and "differ in kind" in shifted.verdict.headline
    outdone = audit(*scores, features=(x[0] + 1, x[1]), fail_if=["auc > 0.99"])
    assert codes(outdone)["distribution-shift"] == "invalid" and outdone.verdict.level == "unusable"
    assert not outdone.passed  # on figures that say nothing, no rule passes
    coins = audit(*scores, features=(x[0] + 1, x[1]), design="fair_coins")
    assert "distribution-shift" not in codes(coins)  # coins made members and non-members alike
    assert codes(audit(*scores))["no-blind-baseline"] == "note"


# Claims.


def test_a_claim_that_the_figures_contradict_and_the_grade_decides_the_words():
    perfect = np.arange(1000.0), np.arange(1000.0) - 2000
    heuristic = audit(*perfect, claim=(0.5, 1e-5))
    assert heuristic.verdict.level == "claim_contradicted" and heuristic.record.claim.contradicted
    assert "heuristic" in " ".join(heuristic.verdict.sentences) and "is false" not in heuristic.verdict.headline
    coins = audit(*perfect, claim=(0.5, 1e-5), design="fair_coins")
    assert "is false" in coins.verdict.headline and coins.record.epsilon_lower.grade == "proof"
    assert coins.record.subject.units == "canaries"


def test_a_claim_out_of_reach_is_said_to_be():
    found = audit(normal(1), normal(0), claim={"epsilon": 50, "delta": 1e-5, "source": "a paper"})
    assert "claim-unreachable" in codes(found) and found.record.claim.source == "a paper"
    assert "delta-too-large" in codes(audit(normal(1), normal(0), claim=(1, 0.01)))
    assert audit(normal(0), normal(0, seed=1), claim=(np.inf, 1e-5)).record.claim.epsilon is None


@pytest.mark.parametrize(
    ("claim", "words"), [((-1, 1e-5), "at least 0"), ((1, 2), "probability"), ("x", "must be"), (("a", "b"), "numbers")]
)
def test_a_claim_that_means_nothing_is_refused(claim, words):
    with pytest.raises(ConfigError, match=words):
        audit(normal(1), normal(0), claim=claim)


# Bad input.


@pytest.mark.parametrize(
    ("members", "others", "settings", "words"),
    [
        ([1.0, np.nan], [0.0, 1.0], {}, "member 1"),
        ([1.0, 2.0], [0.0, np.inf], {"what": "loss"}, "infinite"),
        ([1.0, 1.0], [1.0, 1.0, 1.0], {}, "constant"),
        ([], [1.0], {}, "members: none"),
        ([1.0, 2.0], [], {}, "non-members: none"),
        (["a", "b"], [1.0], {}, "not numbers"),
        ([[1.0, 2.0], [1.0]], [1.0], {}, "different lengths"),
        (3.0, [1.0], {}, "single number"),
        ([0.2, 3.0], [0.1, 0.4], {"what": "confidence"}, "look like losses"),
        ([[0.1, 0.9]], [[0.5, 0.5]], {"what": "logits", "labels": ([1], [0])}, "what='probabilities'"),
        ([[2.0, 0.9]], [[0.5, -1.5]], {"what": "probabilities", "labels": ([1], [0])}, "what='logits'"),
        ([[2.0, 0.9]], [[0.5, -1.5]], {"what": "logits"}, "classes are needed"),
        ([[2.0, 0.9]], [[0.5, -1.5]], {"what": "logits", "labels": ([1], [7])}, "label 7"),
        ([[2.0, 0.9]], [[0.5, -1.5, 0.0]], {"what": "logits", "labels": ([1], [1])}, "must agree"),
        ([[2.0, 0.9]], [[0.5, -1.5]], {}, "C numbers"),
        ([1.0, 2.0], [3.0], {"labels": ([1], [1])}, "2 records but 1 labels"),
        ([1.0, 2.0], [3.0], {"labels": [1, 1, 1]}, "pair"),
        ([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], {}, "given twice"),
    ],
)
def test_bad_numbers_meet_a_clear_error(members, others, settings, words):
    with pytest.raises(DataError, match=words):
        audit(members, others, **settings)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"what": "los"}, "did you mean 'loss'"),
        ({"alpha": 0}, "alpha"),
        ({"design": "coins"}, "design"),
        ({"attacks": ["lira"]}, "target"),
        ({"delta": 1.5}, "delta"),
    ],
)
def test_bad_settings_are_refused_before_anything_is_computed(settings, words):
    with pytest.raises(ConfigError, match=f"(?i){words}"):
        audit([1.0, 2.0], [0.0, 1.0], **settings)


def test_five_records_run_and_everything_that_they_cannot_tell_is_said():
    found = audit([1.0, 2.0, 3.0], [0.5, 1.5], fail_if=["tpr_at_1pct_fpr > 0.5"])
    assert found.record.worst["tpr_at_1pct_fpr"].value is None and found.verdict.level == "no_leak_shown"
    assert {"too-few-records", "rate-not-resolved"} <= codes(found).keys()
    (rule,) = found.record.policy
    assert rule.outcome == "not_resolved" and not found.passed and "unresolved: pass" in rule.reason


def test_scores_rounded_to_a_few_values_are_noticed():
    found = audit(np.round(normal(1)), np.round(normal(0)))
    assert codes(found)["resolution-limited"] == "warning"


def test_records_on_both_sides_count_as_members_and_many_of_them_spoil_the_audit():
    x = np.random.default_rng(0).normal(size=(2, N, 3))
    x[1, :5] = x[0, :5]
    found = audit(normal(1), normal(0), features=x)
    assert codes(found)["duplicates"] == "warning" and found.record.subject.non_members == N - 5
    x[1, :100] = x[0, :100]
    many = audit(normal(1), normal(0), features=x, fail_if=["auc > 0.99"])
    assert codes(many)["duplicates"] == "invalid" and many.verdict.level == "unusable" and not many.passed
    names = [f"a{i}" for i in range(N)], ["a3", *(f"b{i}" for i in range(N - 1))]
    assert audit(normal(1), normal(0), identifiers=names).record.subject.non_members == N - 1


def test_duplicates_falsify_a_draw_by_coins():
    x = np.random.default_rng(0).normal(size=(2, N, 3))
    x[1, 0] = x[0, 0]
    assert codes(audit(normal(1), normal(0), features=x, design="fair_coins"))["duplicates"] == "invalid"


# The record.


def test_the_json_is_valid_strict_and_comes_back(tmp_path):
    found = audit(normal(1), normal(0), claim=(np.inf, 1e-5), labels=(["a", "b"] * 150, ["a", "b"] * 150))
    plain = json.loads(found.json(), parse_constant=pytest.fail)
    jsonschema.Draft202012Validator.check_schema(schema())
    jsonschema.validate(plain, schema())
    assert AuditRecord.model_validate(plain) == found.record
    assert open_audit(found.save(tmp_path / "new").parent).record == found.record
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**plain, "extra": 1}, schema())


def test_the_same_seed_gives_the_same_record_and_order_means_nothing():
    a, b = (audit(normal(1), normal(0)).record for _ in range(2))
    skipped = {"created", "provenance"}
    assert a.model_dump(exclude=skipped) == b.model_dump(exclude=skipped)
    assert a.provenance["inputs_sha256"] == b.provenance["inputs_sha256"]
    turned = audit(normal(1)[::-1], normal(0)[::-1]).record
    assert turned.worst["auc"].value == pytest.approx(a.worst["auc"].value)


def test_the_table_has_a_row_for_every_figure():
    table = audit(normal(1), normal(0)).table
    assert isinstance(table, pd.DataFrame)
    assert set(table.scope) == {"worst", "attack"} and len(table) == 10
    assert table.set_index(["scope", "measure"]).loc[("worst", "auc"), "value"].item() > 0.7


def test_canaries_of_a_training_that_claims_something_are_judged_by_the_claim():
    coins = np.random.default_rng(0).random(2000) < 0.5
    scores = np.random.default_rng(1).normal(coins * 1.0, 1)
    within = audit(scores[coins], scores[~coins], design="fair_coins", claim=(8, 1e-5))
    assert within.verdict.level == "claim_not_contradicted" and 0 < within.record.epsilon_lower.epsilon < 8
    beyond = audit(scores[coins], scores[~coins], design="fair_coins", claim=(0.1, 1e-5))
    assert beyond.verdict.level == "claim_contradicted" and "is false" in beyond.verdict.headline
    assert audit(scores[coins], scores[~coins], design="fair_coins").verdict.level == "leak_shown"
