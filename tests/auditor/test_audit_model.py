"""Audits of a model that can be asked: its records, reference models, and what goes wrong on the way."""

from __future__ import annotations

import json

import jsonschema
import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits
from sklearn.tree import DecisionTreeClassifier

from privsec import targets
from privsec.attacks import Loss
from privsec.auditor import attacking, pool, sides
from privsec.auditor.audit import audit
from privsec.auditor.record import schema
from privsec.core.access import Access
from privsec.core.data import Examples
from privsec.core.errors import ConfigError, DataError, PrivsecError
from privsec.testing import toy
from tests.auditor.memorizing import CLASSES, FEATURES, fit, records, target

MEMBERS, OTHERS = records(120, 1), records(120, 2)


def codes(found) -> dict[str, str]:
    return {caution.code: caution.severity for caution in found.record.cautions}


def status(found) -> dict[str, str]:
    return {one.name: one.status for one in found.record.attacks}


def test_a_model_that_memorized_is_found_out_and_every_query_counted():
    asked = target(*MEMBERS)
    found = audit(MEMBERS, OTHERS, target=asked)
    assert found.verdict.level == "leak_shown"
    assert found.record.subject.kind == "model" and found.record.threat_model.access == "scores"
    assert codes(found)["no-references"] == "warning"
    assert found.record.threat_model.queries == asked.spent == 240  # one answer a record, whatever the attacks
    assert status(found)["lira"] == "not_applicable" and status(found)["loss"] == "ok"
    assert found.record.blind is not None and found.record.blind.low < 0.5 < found.record.blind.high
    jsonschema.validate(json.loads(found.json()), schema())


def test_a_model_that_memorized_others_is_not():
    found = audit(MEMBERS, OTHERS, target=target(*records(120, 3)))
    assert found.verdict.level == "no_leak_shown"


def test_references_trained_by_the_given_function_make_the_strongest_attacks_run():
    seeds = []

    def train(x, y, seed):
        seeds.append((seed, len(y)))
        return fit(x, y, 1 + seed, strength=1.0)

    weak = targets.from_callable(fit(*MEMBERS, 0, strength=1.0), num_classes=CLASSES, shape=(FEATURES,))
    found = audit(MEMBERS, OTHERS, target=weak, train=train, shadows=8, population=records(80, 4), seed=1)
    assert len(set(seeds)) == 8 and {size for _, size in seeds} == {120}
    assert {"lira", "rmia", "attack_r"} <= {name for name, how in status(found).items() if how == "ok"}
    assert found.record.threat_model.references == 8
    assert "no-references" not in codes(found)


def test_an_audit_with_references_keeps_its_level_on_a_model_that_knows_nothing():
    """References know the records that the target does not: an attack that read its answer from them would show."""
    for seed in range(2):
        found = audit(
            MEMBERS, OTHERS, target=target(*records(9, 3)), train=lambda x, y, s: fit(x, y, s), shadows=4, seed=seed
        )
        assert found.verdict.level == "no_leak_shown", found.verdict


def test_a_scikit_learn_model_in_a_few_lines():
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))[:800]
    inside, outside = order[:400], order[400:]
    model = DecisionTreeClassifier(random_state=0).fit(x[inside], y[inside])
    found = audit(
        (x[inside], y[inside]),
        (x[outside], y[outside]),
        target=targets.from_sklearn(model),
        train=lambda x, y, seed: DecisionTreeClassifier(random_state=seed).fit(x, y),
        shadows=4,
        attacks=["loss", "attack_r", {"name": "lira", "label": "pooled"}],
    )
    assert found.verdict.level == "leak_shown"
    assert found.record.subject.accuracy["members"].value == 1
    assert [one.title for one in found.record.attacks] == ["loss", "attack_r", "pooled"]


def test_a_model_in_jax_with_references_given():
    world = toy.leaking()
    x, y = (np.asarray(part) for part in world.knowledge.candidates)
    member = world.member[0]
    members, others = (x[member], y[member]), (x[~member], y[~member])
    order = np.concatenate([np.flatnonzero(member), np.flatnonzero(~member)])
    found = audit(
        members, others, target=world.bank[0], references=(world.bank, world.member[:, order]), attacks=["lira", "loss"]
    )
    assert found.verdict.level == "leak_shown"
    assert codes(found)["target-among-references"] == "warning"
    assert found.record.threat_model.references == toy.MODELS - 2  # the target and its twin were left out
    assert found.record.worst["auc"].value > 0.9


def test_records_come_from_files(tmp_path):
    for name, (x, y) in {"members": MEMBERS, "others": OTHERS}.items():
        np.savez(tmp_path / f"{name}.npz", x=x, y=y)
        columns = {**{f"f{i}": x[:, i] for i in range(FEATURES)}, "label": y, "slice_half": y % 2}
        pd.DataFrame(columns).to_csv(tmp_path / f"{name}.csv", index=False)
    of_npz = audit(tmp_path / "members.npz", str(tmp_path / "others.npz"), target=target(*MEMBERS)).record
    of_csv = audit(tmp_path / "members.csv", tmp_path / "others.csv", target=target(*MEMBERS)).record
    assert of_npz.worst == of_csv.worst
    assert {part.attribute for part in of_csv.slices} >= {"class", "half"}


def test_names_of_classes_are_numbered_in_sorted_order_and_that_is_said():
    names = np.array(["ant", "bee", "cat", "dog"])
    found = audit((MEMBERS[0], names[MEMBERS[1]]), (OTHERS[0], names[OTHERS[1]]), target=target(*MEMBERS))
    assert "labels-mapped" in codes(found) and found.verdict.level == "leak_shown"
    assert found.record.at_risk[0].label in names
    with pytest.raises(DataError, match="4 classes"):
        audit((MEMBERS[0], ["a"] * 120), (OTHERS[0], ["b"] * 120), target=target(*MEMBERS))


# Things that go wrong.


def test_an_endpoint_that_dies_costs_its_attacks_and_no_crash():
    def broken(x):
        raise TimeoutError("no answer within 10 s")

    dead = targets.from_callable(broken, num_classes=CLASSES, shape=(FEATURES,))
    found = audit(MEMBERS, OTHERS, target=dead, fail_if=["auc > 0.9"])
    assert set(status(found).values()) == {"failed"} and "no answer within 10 s" in found.record.attacks[0].reason
    assert found.verdict.level == "unusable" and codes(found)["nothing-measured"] == "invalid" and not found.passed
    jsonschema.validate(json.loads(found.json()), schema())


ASKS_AGAIN = {"name": "noise_robustness", "queries": 20, "sigma": 0.1, "records": 50}
"""An attack that asks about points of its own, beyond the records."""


def test_each_record_is_asked_about_once_whatever_the_number_of_attacks():
    model = target(*MEMBERS)
    found = audit(MEMBERS, OTHERS, target=model, train=fit, shadows=2, attacks=["loss", "shokri", "entropy", "lira"])
    assert model.spent == len(MEMBERS[1]) + len(OTHERS[1]) == found.record.threat_model.queries


def test_an_endpoint_that_dies_midway_leaves_what_was_answered_before():
    answers = fit(*MEMBERS, 0)
    asked = []

    def tired(x):
        asked.append(len(x))
        if len(asked) > 1:
            raise ConnectionError("half a JSON")
        return answers(x)

    model = targets.from_callable(tired, num_classes=CLASSES, shape=(FEATURES,))
    found = audit(MEMBERS, OTHERS, target=model, train=fit, shadows=2, attacks=["loss", ASKS_AGAIN])
    assert status(found) == {"loss": "ok", "noise_robustness": "failed"} and codes(found)["attacks-failed"] == "warning"
    assert "half a JSON" in found.record.attacks[1].reason
    assert found.verdict.level == "leak_shown"


def test_a_budget_that_does_not_suffice_is_a_reason():
    found = audit(MEMBERS, OTHERS, target=target(*MEMBERS, budget=100))
    assert set(status(found).values()) == {"not_applicable"} and "budget of 100" in found.record.attacks[0].reason
    enough_for_one = target(*MEMBERS, budget=300)
    some = audit(MEMBERS, OTHERS, target=enough_for_one, train=fit, shadows=2, attacks=["loss", ASKS_AGAIN])
    assert status(some) == {"loss": "ok", "noise_robustness": "not_applicable"}


def test_labels_alone_are_attacked_by_label_only_attacks():
    names = {attack.name for attack in attacking.chosen(None, Access.LABELS, references=False)}  # type: ignore[attr-defined]
    assert "boundary" in names
    names = {attack.name for attack in attacking.chosen(None, Access.SCORES, references=False)}  # type: ignore[attr-defined]
    assert "boundary" not in names and "confidence" not in names and "correctness" in names


def test_records_of_the_population_that_are_audited_are_left_out():
    mixed = tuple(np.concatenate(parts) for parts in zip(records(50, 4), (MEMBERS[0][:3], MEMBERS[1][:3]), strict=True))
    found = audit(MEMBERS, OTHERS, target=target(*MEMBERS), population=mixed, attacks=["attack_p"])
    assert codes(found)["population-overlap"] == "warning"
    assert "50 records" in found.record.threat_model.knowledge
    none = audit(MEMBERS, OTHERS, target=target(*MEMBERS), population=MEMBERS, attacks=["attack_p", "loss"])
    assert status(none) == {"attack_p": "not_applicable", "loss": "ok"}


def test_members_among_the_non_members_are_taken_off_them():
    mixed = tuple(np.concatenate([a, b[:6]]) for a, b in zip(OTHERS, MEMBERS, strict=True))
    found = audit(MEMBERS, mixed, target=target(*MEMBERS), attacks=[Loss()])
    assert codes(found)["duplicates"] == "warning" and found.record.subject.non_members == 120


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"attacks": ["lria"]}, ConfigError, "Did you mean 'lira'"),
        ({"attacks": ["mi_face"]}, ConfigError, "no membership attack"),
        ({"attacks": []}, ConfigError, "at least one"),
        ({"attacks": ["loss", "loss"]}, ConfigError, "label"),
        ({"policy": {"rules": [{"measure": "auc", "at_most": 1, "attack": "lria"}]}}, ConfigError, "lira"),
        ({"train": fit, "shadows": 3}, ConfigError, "even"),
        ({"train": lambda x, y, seed: 1 / 0}, PrivsecError, "ZeroDivisionError"),
        ({"train": lambda x, y, seed: "model"}, PrivsecError, "no model"),
        ({"references": (target(*MEMBERS), np.ones((1, 240)))}, ConfigError, "stack"),
        ({"references": (targets.stack([target(*MEMBERS)]), np.ones((1, 9)))}, DataError, "included"),
        ({"train": fit, "references": ()}, ConfigError, "not both"),
        ({"population": (np.zeros((3, 2)), [0, 1, 2])}, DataError, "shape"),
    ],
)
def test_wrong_settings_are_refused(settings, error, words):
    with pytest.raises(error, match=words):
        audit(MEMBERS, OTHERS, target=target(*MEMBERS), **settings)


def test_wrong_records_are_refused():
    model = target(*MEMBERS)
    with pytest.raises(DataError, match="shape"):
        audit((MEMBERS[0][:, :3], MEMBERS[1]), (OTHERS[0][:, :3], OTHERS[1]), target=model)
    with pytest.raises(DataError, match="NaN"):
        audit((np.where(MEMBERS[0] > 3, np.nan, MEMBERS[0]) * np.nan, MEMBERS[1]), OTHERS, target=model)
    with pytest.raises(DataError, match=r"Examples\(x, y\)"):
        audit(MEMBERS[0], OTHERS[0], target=model)
    with pytest.raises(DataError, match="120 records but 3 labels"):
        audit((MEMBERS[0], [0, 1, 2]), OTHERS, target=model)
    with pytest.raises(ConfigError, match="stack of 2"):
        audit(MEMBERS, OTHERS, target=targets.stack([model, model]))


def test_the_pool_is_in_random_order_and_remembers_where_records_came_from():
    both = sides.both_sides(Examples(*MEMBERS), Examples(*OTHERS), records=True)
    made, _ = pool.pooled(*both, 0, num_classes=CLASSES)
    assert not np.array_equal(made.member, np.sort(made.member)[::-1])
    assert abs(np.mean(np.flatnonzero(made.member)) - np.mean(np.flatnonzero(~made.member))) < 30
    for n in range(0, made.size, 17):
        x, y = MEMBERS if made.member[n] else OTHERS
        assert np.array_equal(made.examples.x[n], x[made.row[n]]) and made.y[n] == y[made.row[n]]
        assert made.place[n] == made.row[n] + (0 if made.member[n] else 120)
