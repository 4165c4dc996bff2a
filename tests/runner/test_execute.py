"""A run ends with the same numbers however often it is interrupted, and loses nothing that was finished."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pandas as pd
import pytest

from privsec.attacks.membership.lira import LiRA
from privsec.core.errors import DataError
from privsec.runner.config import load
from privsec.runner.execute import run
from privsec.runner.plan import plan
from privsec.runner.store import Store, open_run
from privsec.runner.table import COLUMNS
from privsec.training import many
from tests.runner.alike import without_seconds


@pytest.fixture
def trained(monkeypatch) -> list[int]:
    """Counts the models that are trained."""
    seen: list[int] = []
    original = many.train_many

    def counting(*args, models=None, **kwargs):
        models = list(models)
        seen.extend(models)
        yield from original(*args, models=models, **kwargs)

    monkeypatch.setattr(many, "train_many", counting)
    return seen


def test_a_run_leaves_a_complete_folder(small, tmp_path, quiet):
    results = run(small, out=tmp_path, narrator=quiet)
    assert {"config.yaml", "table.csv", "record.json", "cells.json", "cells"} <= {
        p.name for p in results.folder.iterdir()
    }
    assert tuple(results.table.columns) == COLUMNS
    assert not list(tmp_path.rglob("*.pkl")) and not list(tmp_path.rglob(".*.partial"))
    assert results.record["seeds"] == [0, 1] and results.record["versions"]["jax"] == jax.__version__
    assert results.record["data"]["candidates"] == 200
    reread = open_run(results.folder)
    pd.testing.assert_frame_equal(reread.table, results.table.assign(seed=results.table["seed"].astype(str)))
    assert reread.config == results.config


def test_the_table_has_every_cell_every_seed_and_the_aggregate(small, tmp_path, quiet):
    table = run(small, out=tmp_path, narrator=quiet).table
    for defense in small["defenses"]:
        for attack in ("loss", "lira"):
            rows = table[(table.defense == defense) & (table.attack == attack) & (table.measure == "advantage")]
            assert list(rows.seed) == ["0", "1", "all"]
    assert set(table[table.attack == "lira"].measure) >= {
        "advantage",
        "auc",
        "tpr_at_1pct_fpr",
        "tpr_at_0.1pct_fpr",
        "null_auc",
    }
    refused = table[(table.defense == "labels") & (table.attack == "lira")]
    assert set(refused.status) == {"not_applicable"} and refused.value.isna().all()
    assert refused.reason.str.contains("label_only leaves labels").all()
    utility = table[table.family == "utility"]
    assert set(utility.measure) == {"test_accuracy", "train_accuracy", "gap", "calibration_error"}
    known = table[table.value.notna()]
    assert ((known.low <= known.value) & (known.value <= known.high)).all()


def test_the_second_run_computes_nothing(small, tmp_path, quiet, trained, monkeypatch):
    first = run(small, out=tmp_path, narrator=quiet)
    assert len(trained) == 16
    monkeypatch.setattr(LiRA, "run", lambda *_: pytest.fail("a finished cell was attacked again"))
    trained.clear()
    second = run(small, out=tmp_path, narrator=quiet)
    assert not trained
    pd.testing.assert_frame_equal(first.table, second.table)


def test_a_new_attack_and_more_models_use_the_models_that_are_there(small, tmp_path, quiet, trained):
    first = run(small, out=tmp_path, narrator=quiet)
    trained.clear()
    small["attacks"].append({"name": "attack_r"})
    second = run(small, out=tmp_path, narrator=quiet)
    assert not trained, "an attack needs no new models"
    mine = lambda table: table[table.attack != "attack_r"].reset_index(drop=True)  # noqa: E731
    pd.testing.assert_frame_equal(mine(second.table), first.table), "and does not change the others' numbers"
    small["population"]["models"] = 12
    run(small, out=tmp_path, narrator=quiet)
    assert sorted(trained) == sorted([8, 9, 10, 11] * 2), "only the missing models are trained"


def test_fresh_trains_everything_again_with_the_same_numbers(small, tmp_path, quiet, trained):
    first = run(small, out=tmp_path, narrator=quiet)
    second = run(small, out=tmp_path, narrator=quiet, fresh=True)
    assert len(trained) == 32
    pd.testing.assert_frame_equal(first.table, second.table)


def test_a_crashed_cell_is_reported_and_the_rest_finishes(small, tmp_path, quiet, monkeypatch):
    monkeypatch.setattr(LiRA, "run", lambda *_: 1 / 0)
    results = run(small, out=tmp_path, narrator=quiet)
    assert {(c.defense, c.attack) for c in results.failed} == {("none", "lira"), ("rounding", "lira")}
    table = results.table
    failed = table[(table.attack == "lira") & (table.defense == "none")]
    assert set(failed.status) == {"failed"} and failed.reason.str.contains("ZeroDivisionError").all()
    assert table[(table.attack == "loss") & (table.defense == "none") & (table.measure == "auc")].value.notna().all()
    monkeypatch.undo()
    assert not run(small, out=tmp_path, narrator=quiet).failed, "a failed cell is tried again"


def test_a_full_disk_is_reported_and_the_rest_finishes(small, tmp_path, quiet, monkeypatch):
    original = Store.save_cell

    def full(self, cell, result, arrays):
        if cell.title == "lira":
            raise OSError(errno.ENOSPC, "No space left on device")
        return original(self, cell, result, arrays)

    monkeypatch.setattr(Store, "save_cell", full)
    monkeypatch.setattr(
        Store, "save_model", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left on device"))
    )
    results = run(small, out=tmp_path, narrator=quiet)
    assert all("No space left on device" in cell.reason for cell in results.failed)
    assert {c.attack for c in results.failed} == {"lira"}
    assert "could not be kept" in quiet.console.file.getvalue()


def test_a_damaged_model_file_is_trained_again(small, tmp_path, quiet, trained):
    first = run(small, out=tmp_path, narrator=quiet)
    trained.clear()
    victim = next(tmp_path.rglob("model-00003.safetensors"))
    victim.write_bytes(victim.read_bytes()[:100])
    for cell in first.folder.glob("cells/*"):
        cell.unlink()
    second = run(small, out=tmp_path, narrator=quiet)
    assert trained == [3]
    pd.testing.assert_frame_equal(first.table, second.table)


def test_too_few_records_stop_the_run_before_any_training(small, tmp_path, quiet, trained):
    small["population"]["size"] = 199
    with pytest.raises(DataError, match="largest possible size is 190"):
        run(small, out=tmp_path, narrator=quiet)
    assert not trained


def test_diverged_training_fails_its_cells_with_a_reason(small, tmp_path, quiet):
    small["training"] |= {"optimizer": "sgd", "learning_rate": 1e30}
    small["seeds"] = [0]
    results = run(small, out=tmp_path, narrator=quiet)
    assert results.failed and all("diverged" in cell.reason for cell in results.failed)


def test_training_noise_does_not_depend_on_the_attacks_or_the_other_seeds(small, tmp_path, quiet):
    run(small, out=tmp_path / "a", narrator=quiet)
    small["attacks"], small["seeds"] = [{"name": "entropy"}], [1]
    run(small, out=tmp_path / "b", narrator=quiet)
    bank = next((tmp_path / "b" / "bank").iterdir()).name
    one, other = (tmp_path / x / "bank" / bank / "model-00002.safetensors" for x in "ab")
    assert one.read_bytes() == other.read_bytes()


def test_no_attack_ever_sees_the_row_of_its_own_target(small, tmp_path, quiet, monkeypatch):
    seen = {}

    def spy(self, target, knowledge, key):
        seen["usable"] = np.asarray(knowledge.usable)
        raise RuntimeError("seen")

    monkeypatch.setattr(LiRA, "run", spy)
    run(small, out=tmp_path, narrator=quiet)
    models = np.arange(8)
    assert (seen["usable"] == (models[:, None] // 2 != models // 2)).all()


def test_the_certificate_is_checked(small, tmp_path, quiet, monkeypatch):
    """A training that claims privacy and does not keep it is not given a number."""
    small |= {"attacks": [{"name": "lira"}], "seeds": [0], "training": {"epochs": 100, "batch_size": 20}}
    small["population"]["models"] = 16
    plain = plan({**small, "defenses": {"none": []}}).banks[0].recipe
    original = many.train_many
    monkeypatch.setattr(many, "train_many", lambda model, _, *a, **k: original(model, plain, *a, **k))
    small["defenses"] = {"dp": [{"name": "dp_sgd", "epsilon": 0.05, "delta": 1e-6}]}
    (lira,) = (c for c in run(small, out=tmp_path, narrator=quiet).cells if c.attack == "lira")
    assert lira.status == "failed" and "does not keep its guarantee" in lira.reason


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs POSIX signals")
def test_killed_at_any_moment_the_same_command_ends_with_the_same_numbers(small, tmp_path, quiet):
    small["training"]["epochs"] = 40
    whole = run(small, out=tmp_path / "whole", narrator=quiet)
    config = tmp_path / "small.json"
    config.write_text(json.dumps(small))
    command = [sys.executable, "-m", "privsec", "run", str(config), "--out", str(tmp_path / "killed")]
    for wanted in (3, 12):  # in the middle of the first bank, and of the second
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and len(list(tmp_path.glob("killed/bank/*/model-*"))) < wanted:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.glob("killed/bank/*/model-*")}
    assert kept
    finished = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "COLUMNS": "200"}, check=False
    )
    assert finished.returncode == 0, finished.stderr
    assert all(path.stat().st_mtime_ns == time for path, time in kept.items()), "no finished model was trained again"
    folder = next(tmp_path.glob("killed/a-small-one-*"))
    assert (folder / "table.csv").read_bytes() == (whole.folder / "table.csv").read_bytes()
    assert without_seconds(folder) == without_seconds(whole.folder)


def test_two_processes_on_one_run_folder_do_not_corrupt_it(small, tmp_path, quiet):
    whole = run(small, out=tmp_path / "whole", narrator=quiet)
    config = tmp_path / "small.json"
    config.write_text(json.dumps(small))
    command = [sys.executable, "-m", "privsec", "run", str(config), "--out", str(tmp_path / "both")]
    pair = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    ends = [process.communicate() for process in pair]
    assert [process.returncode for process in pair] == [0, 0], ends
    folder = next(tmp_path.glob("both/a-small-one-*"))
    assert (folder / "table.csv").read_bytes() == (whole.folder / "table.csv").read_bytes()


def test_a_run_waits_for_the_one_that_has_its_folder_and_says_so(small, tmp_path):
    config = tmp_path / "small.json"
    config.write_text(json.dumps(small))
    command = [sys.executable, "-m", "privsec", "run", str(config), "--out", str(tmp_path)]
    with Store(load(small), tmp_path).alone(lambda: pytest.fail("nobody else is here")):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        assert "waiting" in process.stderr.readline()
        assert process.poll() is None
    assert process.wait() == 0
    process.stderr.close()
