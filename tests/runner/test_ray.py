"""A local Ray cluster with two workers makes the run of one process, also where a worker is killed."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from privsec.core.errors import ConfigError
from privsec.runner.config import load
from privsec.runner.execute import run
from tests.runner.alike import SHARED

ROOT = Path(__file__).parents[2]
HAVE_RAY = importlib.util.find_spec("ray") is not None
CONFIG = {
    **SHARED,
    "defenses": {**SHARED["defenses"], "wild": [{"name": "dp_sgd", "noise_multiplier": 1e38}]},
    "attacks": [*SHARED["attacks"], {"name": "lira"}],
}
DRIVER = """
import sys, ray
ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="warning")
from privsec.cli import main
sys.argv = ["privsec", *sys.argv[1:]]
main()
"""
"""The command line, as the driver of a cluster with two workers."""


def drive(folder: Path, config: dict, *more: str) -> subprocess.Popen:
    """Starts the run on a cluster of its own."""
    file = folder / "cluster.json"
    file.write_text(json.dumps(config))
    command = [sys.executable, "-c", DRIVER, "run", str(file), "--out", str(folder / "out"), "--executor", "ray", *more]
    env = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}", "PYTHONWARNINGS": ""}
    return subprocess.Popen(
        command, env=env, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def workers(of: int, task: str) -> list[int]:
    """Processes in this driver's session that do this right now: Ray names them after their task."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            title = (path / "cmdline").read_bytes()
            session = int((path / "stat").read_text().rpartition(")")[2].split()[3])
        except (OSError, ValueError):
            continue
        if title.startswith(f"ray::{task}".encode()) and session == of:
            found.append(int(path.name))
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory, quiet) -> Path:
    """The folder of what one process alone makes of it."""
    return run(CONFIG, out=tmp_path_factory.mktemp("whole"), narrator=quiet).folder


needs_ray = pytest.mark.skipif(
    not HAVE_RAY or not Path("/proc/self/stat").exists(), reason="needs privsec[ray] and /proc"
)


@needs_ray
def test_two_workers_make_the_table_of_one_process_although_one_is_killed(whole, tmp_path):
    driver = drive(tmp_path, CONFIG)
    try:
        while not (killed := workers(driver.pid, "_train")):
            assert driver.poll() is None, driver.communicate()
            time.sleep(0.01)
        os.kill(killed[0], signal.SIGKILL)
        said = driver.communicate(timeout=300)
    finally:
        driver.kill()
    assert driver.returncode == 3, said  # the wild training diverges: the same failed cells
    folder = tmp_path / "out" / whole.name
    assert (folder / "table.csv").read_bytes() == (whole / "table.csv").read_bytes()
    for path in whole.parent.glob("bank/*/model-*"):
        assert (tmp_path / "out" / path.relative_to(whole.parent)).read_bytes() == path.read_bytes(), path
    assert json.loads((folder / "record.json").read_text())["executor"]["tasks_at_once"] == 2


@needs_ray
def test_a_cell_whose_worker_always_dies_is_a_failed_row(tmp_path):
    small = {**CONFIG, "defenses": {"none": []}, "attacks": [{"name": "loss"}], "training": {"epochs": 1}}
    driver = drive(tmp_path, {**small, "population": {"models": 2, "size": 100}}, "--set", "executor.retries=0")
    try:
        while driver.poll() is None:
            for worker in workers(driver.pid, "_fill"):
                os.kill(worker, signal.SIGKILL)
            time.sleep(0.01)
        said = driver.communicate()
    finally:
        driver.kill()
    assert (
        driver.returncode == 3
        and "none x loss, seed 0: RuntimeError: its worker died, perhaps of too little memory, in 1 of 1 tries"
        in said[1]
    ), said
    table = next(tmp_path.glob("out/*/table.csv")).read_text()
    assert "its worker died, perhaps of too little memory, in 1 of 1 tries" in table and ",ok," not in table


def test_without_ray_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"pip install 'privsec\[ray\]'"):
        run({**CONFIG, "executor": {"name": "ray"}}, out=tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_address_of_the_cluster_is_a_setting():
    experiment = load(CONFIG, ["executor.ray_address=auto"], "ray")
    assert experiment.executor.to_json()["ray_address"] == "auto"
    assert experiment.digest == load(CONFIG).digest
