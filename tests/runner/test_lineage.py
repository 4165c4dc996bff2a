"""The lineage of a run: who did what to which records, who is where, and whether a byte changed since."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from privsec.core.errors import ConfigError, DataError
from privsec.report.data_quality import lineage as told
from privsec.runner.execute import run
from privsec.runner.lineage_check import verify
from privsec.schema import files, rules


@pytest.fixture
def config(small, tmp_path):
    """An experiment on a file, whose records are thinned, scaled, poisoned and cleaned."""
    rng = np.random.default_rng(0)
    y = np.arange(500) % 2
    np.savez(tmp_path / "a.npz", features=(rng.normal(size=(500, 6)) + 2 * y[:, None]).astype(np.float32), labels=y)
    small["data"] = {"name": "npz", "path": str(tmp_path / "a.npz"), "limit": 400}
    small["population"]["models"] = 4
    small["defenses"] = {"none": [], "cleaned": [{"name": "spectral_signatures", "share": 0.1}]}
    small["attacks"] = [{"name": "loss"}, {"name": "label_flip", "rate": 0.2}]
    return small


@pytest.fixture
def finished(config, tmp_path, quiet) -> Path:
    return run(config, out=tmp_path / "runs", narrator=quiet).folder


def test_a_manifest_says_what_was_done_and_who_is_where(config, finished, tmp_path, quiet):
    found = verify(finished)
    assert found.intact and {finding.state for finding in found.findings} == {"same"}
    data = found.manifest["data"]
    assert data["records"] == 400 and data["class_counts"] == [200, 200] and len(data["sha256"]) == 64
    assert [(step["name"], step["records"]) for step in data["steps"]] == [("read", 500), ("limit", 400)]
    assert data["schema"]["arrays"]["x"]["shape"] == [None, 6] and data["schema"]["arrays"]["y"]["classes"] == 2
    for seed in ("0", "1"):
        facts = found.manifest["seeds"][seed]
        assert facts["steps"][0]["name"] == "standardize" and "200 public records" in facts["steps"][0]["detail"]
        with np.load(finished / facts["rows"]) as file:
            rows = dict(file)
        everybody = np.concatenate([rows[name] for name in ("candidates", "population", "holdout")])
        assert sorted(everybody) == list(range(400)) and rows["include"].shape == (4, 200)
        assert facts["training_sets"]["records"] == 100 == rows["include"][0].sum()
    poisoned = [one for one in found.manifest["trainings"] if any(step["name"] == "poison" for step in one["steps"])]
    step = poisoned[0]["steps"][0]
    assert step["by"] == "label_flip" and len(step["in_each_training_set"]) == 4
    assert sum(step["in_each_training_set"][:2]) == step["records"] == step["replacing"] > 20
    cleaned = [one for one in found.manifest["trainings"] if any(step["name"] == "clean" for step in one["steps"])]
    left = next(step for step in cleaned[0]["steps"] if step["name"] == "clean")["left"]
    assert all(one["given"] == 100 and 90 <= one["kept"] <= 92 for one in left)
    text = told(found)
    assert "by label_flip" in text and "by spectral_signatures" in text and "every byte is as it was" in text


def test_an_interrupted_run_has_the_same_lineage(config, finished, tmp_path, quiet):
    files = {path: path.read_bytes() for path in (finished / "lineage.json", *(finished / "lineage").iterdir())}
    assert len(files) == 3
    run(config, out=tmp_path / "runs", narrator=quiet)
    assert {path: path.read_bytes() for path in files} == files and verify(finished).intact
    for cell in sorted((finished / "cells").glob("*.json"))[:3]:
        cell.unlink()
    run(config, out=tmp_path / "runs", narrator=quiet)
    assert {path: path.read_bytes() for path in files} == files and verify(finished).intact


def test_what_changed_or_is_gone_is_noticed(finished, tmp_path, monkeypatch):
    source = tmp_path / "a.npz"
    content = bytearray(source.read_bytes())
    content[-300] ^= 1
    source.write_bytes(content)
    assert "changed: the data" in told(verify(finished)) and not verify(finished).intact
    content[-300] ^= 1
    source.write_bytes(content)
    assert verify(finished).intact
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    source.rename(moved / "a.npz")
    monkeypatch.delenv("PRIVSEC_DATA", raising=False)
    assert "gone: the data" in told(verify(finished))
    monkeypatch.setenv("PRIVSEC_DATA", str(moved))
    assert verify(finished).intact
    with np.load(finished / "lineage" / "0.npz") as file:
        rows = dict(file)
    rows["include"][0, :2] ^= True
    np.savez_compressed(finished / "lineage" / "0.npz", **rows)
    changed = [finding for finding in verify(finished).findings if finding.state != "same"]
    assert [finding.what for finding in changed] == ["seed 0, include"]
    (finished / "lineage" / "0.npz").write_bytes(b"PK")
    (finished / "lineage" / "1.npz").unlink()
    assert [f.state for f in verify(finished).findings if f.state != "same"] == ["changed", "gone"]
    text = (finished / "lineage.json").read_text()
    (finished / "lineage.json").write_text(text.replace('"records": 400', '"records": 401'))
    assert "changed: the manifest" in told(verify(finished))


def test_bundled_data_have_no_file_to_compare(small, tmp_path, quiet):
    small |= {"seeds": [0], "defenses": {"none": []}, "attacks": [{"name": "loss"}]}
    small["population"]["models"] = 2
    folder = run(small, out=tmp_path, narrator=quiet).folder
    found = verify(folder)
    assert found.intact and [f.state for f in found.findings].count("nothing to compare") == 1
    assert json.loads((folder / "record.json").read_text())["lineage"]["file"] == "lineage.json"
    assert json.loads(json.dumps(found.as_json()))["intact"] is True
    (folder / "lineage.json").write_text("{}")
    with pytest.raises(ConfigError, match="no lineage of this version"):
        verify(folder)
    (folder / "lineage.json").write_text("{")
    with pytest.raises(ConfigError, match="cannot be read"):
        verify(folder)
    (folder / "lineage.json").unlink()
    with pytest.raises(ConfigError, match="--fresh"):
        verify(folder)


def test_the_card_of_a_model_says_where_its_data_came_from_and_notices_a_changed_byte(finished, config, tmp_path):
    import jax

    from privsec.core.target import Target
    from privsec.nets.base import model_of
    from privsec.nets.mlp import MLP
    from privsec.targets import from_folder, save

    net = MLP(hidden=(4,))
    model = model_of(net, (6,), 2)
    target = Target.of(model, model.init(jax.random.key(0)))
    folder = save(target, tmp_path / "model", net, run=finished)
    found = verify(folder)
    assert found.intact and found.manifest == verify(finished).manifest
    assert found.findings[0].what.startswith("the weights") and "every byte is as it was" in told(found)
    np.testing.assert_array_equal(from_folder(folder).logits(np.ones((2, 6))), target.logits(np.ones((2, 6))))
    with Path(config["data"]["path"]).open("ab") as file:
        file.write(b"1")
    changed = verify(folder)
    assert not changed.intact and changed.findings[1].state == "changed"
    with pytest.raises(ConfigError, match="run="):
        verify(save(target, tmp_path / "unknown", net))
    with pytest.raises(DataError, match="finished run's folder"):
        save(target, tmp_path / "other", net, run=tmp_path)
    assert not (tmp_path / "other").exists()
    (folder / "weights.safetensors").write_bytes(b"")
    with pytest.raises(DataError, match="damaged"):
        verify(folder)


def test_an_enforced_schema_stands_in_the_lineage_and_guards_a_finished_run(small, tmp_path, quiet):
    rng = np.random.default_rng(0)
    path, rules_at = tmp_path / "a.npz", tmp_path / "schema.yaml"
    x, y = rng.normal(size=(400, 6)).astype(np.float32), np.arange(400) % 2
    x[7] = x[8]
    np.savez(path, features=x, labels=y)
    schema, _ = files.infer(path)
    rules.write(schema, rules_at)
    small["data"] = {"name": "npz", "path": str(path), "schema": str(rules_at)}
    small["attacks"] = [{"name": "loss"}]
    done = run(small, out=tmp_path / "runs", narrator=quiet)
    step = verify(done.folder).manifest["data"]["steps"][0]
    assert step["name"] == "schema" and schema.digest in step["detail"]
    copies = done.record["data"]["copies"]
    assert copies["equal"] in (0, 2) and copies["near"] >= copies["equal"]
    rules_at.write_text(rules_at.read_text().replace("classes: 2", "classes: 1"))
    with pytest.raises(DataError, match=r"labels.classes: wanted labels 0 to 0; 200 records"):
        run(small, out=tmp_path / "runs", narrator=quiet)
