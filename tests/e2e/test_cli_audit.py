"""`privsec audit` and `privsec account` as a user meets them: what they print and leave, and how they exit."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
MODEL = """
import numpy as np
import privsec

def predict(x):
    seen = np.linalg.norm(x[:, None] - np.load("in.npz")["x"][None], axis=-1).min(axis=1) < 1e-6
    p = np.where(seen, 0.99, 0.6)
    return np.stack([1 - p, p], axis=1)

def target():
    return privsec.Target.from_callable(predict, num_classes=2, shape=(3,))
"""
TRAINING = {
    "title": "A training",
    "data": {"name": "digits"},
    "net": {"name": "mlp", "hidden": [16]},
    "training": {"epochs": 3, "batch_size": 50},
    "population": {"models": 2, "size": 400},
    "defenses": {"none": [], "dp": [{"name": "dp_sgd", "epsilon": 4, "delta": 1e-5, "clip_norm": 1.0}]},
    "attacks": [{"name": "loss"}],
}


def privsec(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "privsec", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False)


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    rng = np.random.default_rng(0)
    np.save(folder / "in.npy", rng.normal(1, 1, 1000))
    np.save(folder / "out.npy", rng.normal(0, 1, 1000))
    for name in ("in", "out"):
        np.savez(folder / f"{name}.npz", x=rng.normal(size=(200, 3)).astype(np.float32), y=np.ones(200, int))
    (folder / "my_model.py").write_text(MODEL)
    (folder / "training.json").write_text(json.dumps(TRAINING))
    return folder


def test_scores_are_audited_and_a_gate_stops(files):
    said = privsec("audit", "--members", "in.npy", "--non-members", "out.npy", "--fail-if", "auc_low > 0.6", cwd=files)
    assert said.returncode == 1 and not said.stderr
    assert "A leak is shown" in said.stdout and "failed" in said.stdout and "heuristic" in said.stdout
    record = json.loads((files / "audit" / "audit.json").read_text())
    jsonschema.validate(record, json.loads((ROOT / "docs" / "audit.schema.json").read_text()))
    assert "<script" not in (files / "audit" / "audit.html").read_text()


def test_an_audit_that_cannot_be_used_exits_3(files):
    said = privsec("audit", "--members", "out.npy", "--non-members", "in.npy", "--out", "reversed", cwd=files)
    assert said.returncode == 3 and "what=" in said.stdout  # non-members score higher: are these losses?


def test_a_model_is_named_by_file_and_function(files):
    options = ["--model", "my_model.py:target", "--members", "in.npz", "--non-members", "out.npz", "--out", "of-model"]
    said = privsec("audit", *options, cwd=files)
    assert said.returncode == 0, said.stderr
    record = json.loads((files / "of-model" / "audit.json").read_text())
    assert record["subject"]["kind"] == "model" and record["worst"]["auc"]["value"] == 1
    assert record["threat_model"]["queries"] == 400  # each record once


def test_a_training_is_audited_by_its_config(files):
    options = ["--train", "training.json", "--defense", "dp", "--kind", "gradient", "--access", "white-box"]
    said = privsec("audit", *options, "--canaries", "200", "--out", "of-training", cwd=files)
    assert said.returncode == 0, said.stderr
    record = json.loads((files / "of-training" / "audit.json").read_text())
    assert record["design"] == "fair_coins" and record["epsilon_lower"]["grade"] == "proof"
    assert record["claim"]["epsilon"] == pytest.approx(4, abs=0.1) and not record["claim"]["contradicted"]
    assert record["subject"]["units"] == "canaries" and record["verdict"]["level"] == "claim_not_contradicted"
    assert "not contradicted" in said.stdout


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ([], "nothing to audit"),
        (["--members", "in.npy"], "no non-members"),
        (["--members", "inn.npy", "--non-members", "out.npy"], "Did you mean 'in.npy'"),
        (["--members", "in.npy", "--non-members", "out.npy", "--fail-if", "aucc > 1"], "Did you mean 'auc'"),
        (["--members", "in.npy", "--non-members", "out.npy", "--epsilon", "-1"], "budget is at least 0"),
        (["--members", "in.npz", "--non-members", "out.npz", "--model", "my_model.py:targt"], "Did you mean 'target'"),
        (["--members", "in.npz", "--non-members", "out.npz", "--url", "http://127.0.0.1:9"], "--classes"),
        (["--model", "a", "--url", "b"], "one subject"),
        (["--train", "training.json"], "--defense"),
        (["--train", "training.json", "--defense", "dpp"], "Did you mean"),
    ],
)
def test_wrong_usage_exits_2_and_says_what_to_write(files, options, says):
    said = privsec("audit", *options, cwd=files)
    assert said.returncode == 2 and says in said.stderr and "Traceback" not in said.stderr


def test_an_account_and_a_ledger_that_keeps_its_budget(files):
    training = ["--records", 1000, "--batch-size", 100, "--steps", 50, "--delta", "1e-5"]
    said = privsec("account", *training, "--epsilon", 2, "--json", cwd=files)
    account = json.loads(said.stdout)
    assert account["epsilon"] == pytest.approx(2, abs=0.02) and account["noise_multiplier"] > 0.5
    entry = ["--title", "first", "--released", "weights", "--data", "in.npy", "--budget", "2.2"]
    codes = [privsec("account", "book.json", *training, "--epsilon", 2, *entry, cwd=files).returncode for _ in range(2)]
    assert codes == [0, 1]
    assert "0 of 1 entries broke it" in " ".join(privsec("account", "book.json", cwd=files).stdout.split())
