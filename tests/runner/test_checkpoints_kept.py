"""A run keeps checkpoints with the models, and says where an attack would have needed them."""

from __future__ import annotations

import json

import pandas as pd
import safetensors.numpy

from privsec.runner.execute import run
from privsec.runner.plan import plan


def with_checkpoints(small, count=2):
    small["training"]["checkpoints"] = count
    small["attacks"] = [{"name": "trajectory"}, {"name": "loss"}]
    small["seeds"] = [0]
    return small


def test_without_checkpoints_the_trajectory_is_not_applicable(small):
    reasons = {(c.defense, c.title): c.reason for c in plan(with_checkpoints(small, 0)).cells}
    assert all("set training.checkpoints" in reasons[defense, "trajectory"] for defense in small["defenses"])
    assert not reasons["none", "loss"]


def test_whoever_watched_the_training_is_not_stopped_at_the_endpoint(small):
    made = plan(with_checkpoints(small))
    assert not any(cell.reason for cell in made.cells if cell.title == "trajectory")
    small["access"] = "labels"
    assert all(
        "the experiment grants labels" in cell.reason for cell in plan(small).cells if cell.title == "trajectory"
    )


def test_checkpoints_are_kept_with_the_models(small, tmp_path, quiet):
    first = run(with_checkpoints(small), out=tmp_path, narrator=quiet)
    cells = {(cell.defense, cell.attack): cell for cell in first.cells}
    assert {cells[defense, "trajectory"].status for defense in small["defenses"]} == {"ok"}
    assert cells["none", "trajectory"].facts["queries"] == 3
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("model-*.safetensors")}
    for path in first.folder.glob("cells/*"):
        path.unlink()
    second = run(small, out=tmp_path, narrator=quiet)
    assert all(path.stat().st_mtime_ns == time for path, time in files.items()), "no model was trained again"
    pd.testing.assert_frame_equal(first.table, second.table)


def test_a_model_that_lost_its_checkpoints_is_trained_again(small, tmp_path, quiet):
    first = run(with_checkpoints(small), out=tmp_path, narrator=quiet)
    victim = next(tmp_path.rglob("model-00003.safetensors"))
    leaves = safetensors.numpy.load_file(victim)
    assert {name.split("/")[0] for name in leaves} > {"checkpoints"}
    safetensors.numpy.save_file({k: v for k, v in leaves.items() if not k.startswith("checkpoints")}, victim)
    for path in first.folder.glob("cells/*"):
        path.unlink()
    pd.testing.assert_frame_equal(run(small, out=tmp_path, narrator=quiet).table, first.table)
    assert set(safetensors.numpy.load_file(victim)) == set(leaves)


def test_the_models_themselves_are_those_of_a_run_without(small, tmp_path, quiet):
    small["attacks"], small["seeds"] = [{"name": "loss"}], [0]
    plain = run(small, out=tmp_path, narrator=quiet)
    kept = run(with_checkpoints(small), out=tmp_path, narrator=quiet)
    assert plain.folder != kept.folder
    same = kept.table[kept.table.attack != "trajectory"].reset_index(drop=True)
    pd.testing.assert_frame_equal(same, plain.table)
    assert "checkpoints" in json.dumps(kept.config)
