"""A config is read as a whole, and what is wrong with it is said with its path."""

from __future__ import annotations

import json

import jsonschema
import pytest
import yaml

from privsec.attacks.membership.lira import LiRA
from privsec.core.errors import ConfigError
from privsec.runner.config import Experiment, load, schema


def write(folder, name: str, values) -> str:
    path = folder / name
    path.write_text(values if isinstance(values, str) else yaml.safe_dump(values))
    return str(path)


def test_the_three_formats_give_the_same_experiment(small, tmp_path):
    toml = """
title = "A small one"
seeds = [0, 1]
data = {name = "digits", limit = 400}
net = {name = "mlp", hidden = [16]}
training = {epochs = 5, batch_size = 20}
population = {models = 8, size = 100}
attacks = [{name = "loss"}, {name = "lira"}]
[defenses]
none = []
rounding = [{name = "rounding", decimals = 1}]
labels = [{name = "label_only"}]
"""
    from_yaml = load(write(tmp_path, "a.yaml", small))
    from_json = load(write(tmp_path, "a.json", json.dumps(small)))
    from_toml = load(write(tmp_path, "a.toml", toml))
    assert from_yaml == from_json == from_toml == load(small)
    assert from_yaml.digest == from_toml.digest


def test_an_attack_is_its_config(small):
    assert load(small).attacks[1] == LiRA()


def test_an_experiment_survives_the_round_trip_through_json(small):
    experiment = load(small)
    assert Experiment.model_validate(json.loads(json.dumps(experiment.to_json()))) == experiment


def test_yaml_numbers_in_exponent_form_are_numbers(small, tmp_path):
    text = yaml.safe_dump(small).replace("epochs: 5", "epochs: 5\n  learning_rate: 1e-3")
    assert load(write(tmp_path, "a.yaml", text)).training.learning_rate == 1e-3


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            lambda c: c["attacks"].append({"name": "rmia", "gama": 2}),
            ["attacks[2].gama", "gamma", "Did you mean 'gamma'"],
        ),
        (
            lambda c: c["attacks"].append({"name": "lria"}),
            ["attacks[2].name", "no such name 'lria'", "Did you mean 'lira'"],
        ),
        (lambda c: c["attacks"].append({"online": True}), ["attacks[2]", "no `name`"]),
        (lambda c: c["attacks"].append({"name": "lira"}), ["two attacks are called 'lira'", "label"]),
        (lambda c: c.pop("title"), ["title", "required"]),
        (lambda c: c["population"].update(models=7), ["population.models", "6 or 8", "got 7"]),
        (lambda c: c["training"].update(learning_rate="fast"), ["training.learning_rate", "'fast'"]),
        (lambda c: c["training"].update(learning_rate=-1), ["training.learning_rate", "greater than 0", "-1"]),
        (lambda c: c["defenses"].update(dp=[{"name": "dp_sgd"}]), ["defenses.dp[0]", "epsilon", "noise_multiplier"]),
        (
            lambda c: c["defenses"].update(bad=[{"name": "rounding", "decimal": 1}]),
            ["defenses.bad[0].decimal", "decimals"],
        ),
        (lambda c: c.update(atacks=[]), ["atacks", "Did you mean 'attacks'"]),
        (lambda c: c.update(attacks=[]), ["attacks", "at least 1"]),
        (lambda c: c.update(seeds=[1, 1]), ["seed is named twice"]),
        (lambda c: c.update(access="everything"), ["access", "weights"]),
        (lambda c: c["data"].update(name="digit"), ["data.name", "Did you mean 'digits'"]),
    ],
)
def test_a_wrong_config_is_told_where_what_and_how_to_mend(small, tmp_path, change, says):
    change(small)
    path = write(tmp_path, "wrong.yaml", small)
    with pytest.raises(ConfigError) as error:
        load(path)
    for part in (path, *says):
        assert part in str(error.value)


def test_every_problem_of_a_file_is_told_at_once(small):
    small["attacks"][0]["lable"] = "x"
    small["net"]["hiden"] = [3]
    with pytest.raises(ConfigError) as error:
        load(small)
    assert "attacks[0].lable" in str(error.value)
    assert "net.hiden" in str(error.value)


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.yaml", "title: x\ntitle: y\n", ["line 2", "'title' is given twice"]),
        ("a.yaml", "title: [x\n", ["line 2"]),
        ("a.yaml", "- 1\n", ["mapping", "list"]),
        ("a.yaml", "", ["mapping"]),
        ("a.json", "{", ["line 1"]),
        ("a.toml", "title = \n", ["line 1"]),
        ("a.txt", "title: x", [".yaml", ".toml", ".json"]),
        ("a.yaml", "title: !!python/object/apply:os.system ['true']\n", ["line 1"]),
    ],
)
def test_a_file_that_is_no_config_is_refused(tmp_path, name, text, says):
    path = write(tmp_path, name, text)
    with pytest.raises(ConfigError) as error:
        load(path)
    for part in (path, *says):
        assert part in str(error.value)


def test_a_missing_file_and_a_binary_file_are_told_apart(tmp_path):
    with pytest.raises(ConfigError, match="no such file"):
        load(tmp_path / "nowhere.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(ConfigError, match="UTF-8"):
        load(tmp_path / "binary.yaml")


def test_settings_override_the_file(small):
    made = load(
        small, ["training.epochs=7", "attacks[1].online=false", "population={models: 4, size: 50}", "seeds=[3]"]
    )
    assert made.training.epochs == 7
    assert made.attacks[1] == LiRA(online=False)
    assert (made.population.models, made.population.size, made.seeds) == (4, 50, (3,))
    assert small["training"]["epochs"] == 5, "the values given are not changed"


@pytest.mark.parametrize("override", ["training.epochs", "=3", "attacks[9].online=1", "title.x.y=1", "seeds=[1"])
def test_a_wrong_setting_is_told(small, override):
    with pytest.raises(ConfigError, match="--set"):
        load(small, [override])


def test_the_schema_accepts_the_configs_and_rejects_typos(small):
    made = schema()
    jsonschema.Draft202012Validator.check_schema(made)
    validator = jsonschema.Draft202012Validator(made)
    assert validator.is_valid(small)
    small["attacks"][0]["lable"] = "x"
    assert not validator.is_valid(small)
