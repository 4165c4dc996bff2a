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

ROOT = Path(__file__).parents[2]
HAVE_RAY = importlib.util.find_spec("ray") is not None
CONFIG = {
    "title": "Cluster",
    "data": {"name": "digits", "limit": 400},
    "net": {"name": "mlp", "hidden": [16]},
    "training": {"epochs": 20, "batch_size": 20},
    "population": {"models": 8, "size": 80},
    "defenses": {
        "none": [],
        "labels": [{"name": "label_only"}],
        "wild": [{"name": "dp_sgd", "noise_multiplier": 1e38}],
    },
    "attacks": [{"name": "loss"}, {"name": "lira"}, {"name": "badnets"}],
}
DRIVER = """
import sys, ray
ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="warning")
from privsec.cli import main
sys.argv = ["privsec", *sys.argv[1:]]
main()
"""
"""The command line, as the driver of a cluster with two workers."""


def drive(folder: Path, config: dict) -> subprocess.Popen:
    """Starts the run on a cluster of its own."""
    file = folder / "cluster.json"
    file.write_text(json.dumps(config))
    command = [sys.executable, "-c", DRIVER, "run", str(file), "--out", str(folder / "out"), "--executor", "ray"]
    env = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}", "PYTHONWARNINGS": ""}
    return subprocess.Popen(
        command, env=env, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def workers(of: int) -> list[int]:
    """Processes in this driver's session that train models right now: Ray names them after their task."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            title = (path / "cmdline").read_bytes()
            session = int((path / "stat").read_text().rpartition(")")[2].split()[3])
        except (OSError, ValueError):
            continue
        if title.startswith(b"ray::_train") and session == of:
            found.append(int(path.name))
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory, quiet) -> Path:
    """The folder of what one process alone makes of it."""
    return run(CONFIG, out=tmp_path_factory.mktemp("whole"), narrator=quiet).folder


@pytest.mark.skipif(not HAVE_RAY or not Path("/proc/self/stat").exists(), reason="needs privsec[ray] and /proc")
def test_two_workers_make_the_table_of_one_process_although_one_is_killed(whole, tmp_path):
    driver = drive(tmp_path, CONFIG)
    try:
        while not (killed := workers(driver.pid)):
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


def test_without_ray_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"pip install 'privsec\[ray\]'"):
        run({**CONFIG, "executor": {"name": "ray"}}, out=tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_address_of_the_cluster_is_a_setting():
    experiment = load(CONFIG, ["executor.ray_address=auto"], "ray")
    assert experiment.executor.to_json()["ray_address"] == "auto"
    assert experiment.digest == load(CONFIG).digest
