"""Policies: the grammar, what is refused, and how rules come out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privsec.auditor.audit import audit
from privsec.auditor.policy import ENDS, KNOWN, fails_if, read_policy
from privsec.core.errors import ConfigError

SIGNS = {">": float.__gt__, ">=": float.__ge__, "<": float.__lt__, "<=": float.__le__}
numbers = st.floats(-1e3, 1e3).map(lambda x: round(x, 3))


@given(
    st.sampled_from([name for name in KNOWN if name != "epsilon"]),
    st.sampled_from(["", *(mark + end for mark in "._" for end in ENDS)]),
    st.sampled_from(sorted(SIGNS)),
    numbers,
    numbers,
    st.sampled_from(["", " ", "  "]),
)
def test_a_rule_fails_exactly_where_its_text_is_true(measure, end, sign, limit, figure, space):
    rule = fails_if(f"{space}{measure}{end}{space}{sign}{space}{limit}{space}")
    assert rule.measure == measure and rule.which_end == (ENDS[end[1:]] if end else "value")
    assert rule.holds(figure) == (not SIGNS[sign](figure, limit))


@given(st.sampled_from(KNOWN), st.sampled_from(sorted(SIGNS)), numbers)
def test_what_a_rule_is_called_is_the_opposite_of_what_breaks_it(measure, sign, limit):
    opposite = {">": "<=", ">=": "<", "<": ">=", "<=": ">"}[sign]
    assert str(fails_if(f"{measure} {sign} {limit}")).endswith(f"{opposite} {limit:g}")


@given(st.text(max_size=20))
def test_any_other_text_is_a_config_error_and_nothing_else(text):
    try:
        fails_if(text)
    except ConfigError:
        pass


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("epsilon_upper > 8", "from below only"),
        ("acu > 0.6", "Did you mean 'auc'"),
        ("auc = 0.6", "cannot be read"),
        ("auc >", "cannot be read"),
        ("auc > much", "no number"),
        ("auc > nan", "finite"),
        ("", "cannot be read"),
    ],
)
def test_bad_thresholds_say_what_to_write(text, words):
    with pytest.raises(ConfigError, match=words):
        read_policy(None, [text])


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ([{"measure": "auc"}], "one limit"),
        ([{"measure": "auc", "at_most": 1, "below": 1}], "one limit"),
        ([{"measure": "tpr_at_1pct", "at_most": 1}], "Did you mean 'tpr_at_1pct_fpr'"),
        ([{"measure": "auc", "atmost": 1}], "at_most"),
        ([{"measure": "epsilon", "end": "high", "at_most": 1}], "from below only"),
        ([{"measure": "epsilon", "attack": "loss", "at_most": 1}], "leave `attack` away"),
        ([{"measure": "auc", "end": "top", "at_most": 1}], "value"),
    ],
)
def test_bad_policies_are_refused(rules, words, tmp_path):
    path = tmp_path / "policy.yaml"
    path.write_text(f"rules: {rules}")
    with pytest.raises(ConfigError, match=words):
        read_policy(path)


def test_files_that_are_no_policy_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        read_policy(tmp_path / "missing.yaml")
    for text, words in (("{", "no YAML"), ("- a", "mapping"), ("rule: []", "rules")):
        (tmp_path / "policy.yaml").write_text(text)
        with pytest.raises(ConfigError, match=words):
            read_policy(tmp_path / "policy.yaml")


def test_rules_look_at_the_right_end_of_the_worst_case_or_of_one_attack():
    rng = np.random.default_rng(0)
    scores = rng.normal(0.4, 1, 400), rng.normal(0, 1, 400)
    record = audit(*scores).record
    auc = record.worst["auc"]
    assert auc.low is not None and auc.value is not None and auc.high is not None
    middle = (auc.value + auc.high) / 2
    policy = {
        "title": "release",
        "rules": [
            {"measure": "auc", "end": "high", "at_most": middle, "why": "board decision 12"},
            {"measure": "auc", "at_most": middle},
            {"measure": "auc", "end": "low", "at_most": middle, "attack": "given score"},
            {"measure": "epsilon", "at_most": 8},
            {"measure": "tpr_at_0.1pct_fpr", "end": "high", "at_most": 0.9},
            {"measure": "tpr_at_0.1pct_fpr", "end": "high", "at_most": 0.9, "unresolved": "pass"},
        ],
    }
    found = audit(*scores, policy=policy, fail_if=["epsilon_lower > 0.0001"])
    outcomes = [rule.outcome for rule in found.record.policy]
    expected = ["failed", "passed", "passed", "passed", "not_resolved", "passed"]
    assert outcomes[:-1] == expected and not found.passed
    assert found.record.policy[0].reason == "board decision 12" and found.record.policy[0].observed == auc.high
    assert found.record.policy[-1].outcome == ("failed" if found.record.epsilon_lower.epsilon > 1e-4 else "passed")
    assert "400 non-members" in found.record.policy[4].reason


def test_a_bad_policy_stops_the_audit_before_the_data_are_read():
    with pytest.raises(ConfigError, match="no attack 'lria' runs"):
        audit([1.0, 2.0], [0.0, 3.0], policy={"rules": [{"measure": "auc", "at_most": 1, "attack": "lria"}]})
    with pytest.raises(ConfigError, match="no measure"):
        audit("missing.npy", "missing.npy", fail_if=["acu > 1"])
