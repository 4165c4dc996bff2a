"""Trainings are shared wherever the models are equal; what cannot be computed carries its reason."""

from __future__ import annotations

import pytest

from privsec.core.errors import ConfigError
from privsec.runner.plan import plan


def test_defenses_that_act_on_the_outputs_share_the_models(small):
    made = plan(small)
    assert len(made.banks) == len(small["seeds"])
    assert len(made.cells) == 2 * 3 * (1 + 2), "seeds x defenses x (utility + attacks)"


def test_every_training_defense_has_its_own_models(small):
    small["defenses"] |= {
        "decay": [{"name": "weight_decay", "strength": 0.1}],
        "both": [{"name": "weight_decay", "strength": 0.1}, {"name": "rounding"}],
    }
    assert len(plan(small).banks) == 2 * len(small["seeds"])


def test_more_models_attacks_or_another_title_keep_the_bank(small):
    before = {bank.digest for bank in plan(small).banks}
    small["population"]["models"] = 12
    small["attacks"].append({"name": "rmia"})
    small["title"] = "Another"
    assert {bank.digest for bank in plan(small).banks} == before


@pytest.mark.parametrize(
    ("section", "change"),
    [("training", {"epochs": 6}), ("net", {"hidden": [17]}), ("population", {"size": 90}), ("data", {"limit": 399})],
)
def test_what_changes_the_models_changes_the_bank(small, section, change):
    before = {bank.digest for bank in plan(small).banks}
    small[section] |= change
    assert not before & {bank.digest for bank in plan(small).banks}


def test_a_label_does_not_change_what_is_computed(small):
    before = [cell.attack.digest for cell in plan(small).cells if cell.attack]
    small["attacks"][1]["label"] = "the strong one"
    assert [cell.attack.digest for cell in plan(small).cells if cell.attack] == before


def test_the_impossible_says_why(small):
    reasons = {(c.defense, c.title): c.reason for c in plan(small).cells if c.reason}
    assert reasons == {
        ("labels", "loss"): "needs scores; label_only leaves labels",
        ("labels", "lira"): "needs scores; label_only leaves labels",
    }


def test_an_attacker_with_the_weights_is_not_stopped_by_output_defenses(small):
    small["attacks"] = [{"name": "mi_face"}]
    assert not any(cell.reason for cell in plan(small).cells)
    small["access"] = "scores"
    assert all("the experiment grants scores" in cell.reason for cell in plan(small).cells if cell.attack)


def test_too_few_models_for_references_is_a_reason(small):
    small["population"]["models"] = 2
    reasons = {c.title: c.reason for c in plan(small).cells if c.defense == "none"}
    assert "needs reference models" in reasons["lira"]
    assert not reasons["loss"]


def test_defenses_that_do_not_compose_are_found_before_anything_is_computed(small):
    small["defenses"]["twice"] = [{"name": "dp_sgd", "noise_multiplier": 1}, {"name": "dp_sgd", "noise_multiplier": 1}]
    with pytest.raises(ConfigError, match="two dp_sgd"):
        plan(small)


def test_a_batch_larger_than_the_training_set_is_found(small):
    small["training"]["batch_size"] = 101
    with pytest.raises(ConfigError, match=r"training\.batch_size is 101"):
        plan(small)
