"""Where a run's seconds go, and what it compiles."""

from __future__ import annotations

import time
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from privsec.report.terminal import stages as shown
from privsec.runner.config import load
from privsec.runner.execute import PROFILE, run
from privsec.runner.stages import OTHER, Stages

QUICKSTART = Path(__file__).parents[2] / "configs" / "quickstart.yaml"
SMALL = ["population.models=4", "population.size=100", "population.points=60", "training.epochs=2", "data.limit=500"]


def test_a_stage_inside_another_is_not_counted_twice():
    stages, start = Stages(), time.perf_counter()
    with stages.timed("outer"):
        time.sleep(0.05)
        with stages.timed("inner"):
            time.sleep(0.2)
    with pytest.raises(ZeroDivisionError), stages.timed("outer"):
        raise ZeroDivisionError
    assert stages.seconds["inner"] >= 0.2 and stages.seconds["outer"] >= 0.05
    assert sum(stages.seconds.values()) <= time.perf_counter() - start


def test_what_is_compiled_is_counted_where_it_happens_and_not_afterwards():
    stages = Stages()

    def compile_one(shift):
        jax.jit(lambda x: x * 1.5 + shift)(jnp.arange(7.0)).block_until_ready()

    compile_one(0.0)  # what every program needs is there
    with stages.watched():
        with stages.timed("one"):
            compile_one(1.0)
        compile_one(2.0)
    compile_one(3.0)
    assert stages.programs["one"] == 1 and stages.compiling["one"] > 0
    assert stages.programs[OTHER] == 1 and stages.programs["elsewhere"] == 0


@pytest.fixture(scope="module")
def first(tmp_path_factory, quiet):
    """The quickstart, small: what it compiles is compiled."""
    return run(load(QUICKSTART, SMALL), out=tmp_path_factory.mktemp("first"), narrator=quiet, profile=True)


def test_other_numbers_compile_nothing(first, tmp_path, quiet):
    """Other rates, budgets and draws are arguments of the programs that are there."""
    other = ["training.learning_rate=0.002", "defenses.dp-8=[{name: dp_sgd, epsilon: 3, clip_norm: 0.7}]", "seeds=[7]"]
    record = run(load(QUICKSTART, SMALL + other), out=tmp_path, narrator=quiet).record
    assert not any(record["programs"].values()), record["programs"]


def test_a_program_is_compiled_once_and_not_for_every_defense_or_model(first):
    """None, dp-8 and mixup are trained by programs of their own, and everything behind them is shared."""
    made = first.record["programs"]
    assert made["training"] <= 8 and sum(made.values()) <= 80, made


def test_a_profile_is_written_and_told(first):
    assert list((first.folder / PROFILE).rglob("*.xplane.pb"))
    record = first.record
    assert {"training", "attacks", "measures"} <= record["seconds"].keys()
    table = shown(first)
    assert table.columns[0]._cells[0] == max(record["seconds"], key=record["seconds"].get)
    assert table.columns[0]._cells[-1] == "all"
    assert float(table.columns[1]._cells[-1]) == pytest.approx(sum(record["seconds"].values()), abs=0.1)


def test_only_the_beginning_is_traced(tmp_path, monkeypatch):
    """The profiler keeps all events in memory: of a run of hours it would take all there is."""
    monkeypatch.setattr("privsec.runner.stages.TRACED", 0.1)
    with Stages().watched(tmp_path):
        jnp.ones(3).sum().block_until_ready()
        for _ in range(100):
            if found := list(tmp_path.rglob("*.xplane.pb")):
                break
            time.sleep(0.1)
        assert found
        with jax.profiler.trace(str(tmp_path / "another")):  # only one can run at a time
            jnp.ones(4).sum().block_until_ready()
