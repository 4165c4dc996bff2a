"""Two processes that JAX connects make the run of one, and one of them never waits for a dead one."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from privsec.core.errors import ConfigError
from privsec.runner.config import load
from privsec.runner.execute import run
from privsec.runner.executors.distributed import VARIABLES, Distributed
from tests.runner.alike import SHARED, without_seconds

ROOT = Path(__file__).parents[2]
EIGHT = "--xla_force_host_platform_device_count=4"
"""Four devices in each of two processes."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory, quiet) -> Path:
    """The folder of what one process alone makes of it."""
    return run(SHARED, out=tmp_path_factory.mktemp("whole"), narrator=quiet).folder


@pytest.fixture
def started(tmp_path):
    """Starts process k of two on this machine; none is left behind."""
    config = tmp_path / "hosts.json"
    config.write_text(json.dumps(SHARED))
    running: list[subprocess.Popen] = []

    def start(k: int, port: int, *more: str, out: str = "out", count: int = 2, **env: str) -> subprocess.Popen:
        given = {"PRIVSEC_COORDINATOR": f"127.0.0.1:{port}", "PRIVSEC_PROCESSES": str(count), "PRIVSEC_PROCESS": str(k)}
        command = [sys.executable, "-m", "privsec", "run", str(config), "--executor", "distributed"]
        running.append(
            subprocess.Popen(
                [*command, "--out", str(tmp_path / out), *more],
                env={**os.environ, **given, **env},
                cwd=ROOT,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        return running[-1]

    yield start
    for process in running:
        process.kill()
        process.communicate()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_two_processes_with_eight_devices_make_the_table_of_one(whole, started, tmp_path):
    port = free_port()
    pair = [started(k, port, XLA_FLAGS=EIGHT) for k in (0, 1)]
    said = [process.communicate(timeout=240) for process in pair]
    assert [process.returncode for process in pair] == [0, 0], said
    folder = tmp_path / "out" / whole.name
    assert (folder / "table.csv").read_bytes() == (whole / "table.csv").read_bytes()
    assert (folder / "lineage.json").read_bytes() == (whole / "lineage.json").read_bytes()
    assert without_seconds(folder) == without_seconds(whole)
    models = sorted(path.relative_to(whole.parent) for path in whole.parent.glob("bank/*/model-*"))
    assert len(models) == 2 * 8  # clean and poisoned
    for path in models:
        assert (tmp_path / "out" / path).read_bytes() == (whole.parent / path).read_bytes(), path
    assert "report" in said[0][0] and not said[1][0], "process 0 speaks for all"
    record = json.loads((folder / "record.json").read_text())
    assert record["executor"] == {"name": "distributed", "processes": 2}
    assert not list((tmp_path / "out").rglob(".*.partial")) and not list(folder.glob(".privsec*"))


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs POSIX signals")
@pytest.mark.parametrize("victim", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_a_killed_process_ends_the_other_within_a_minute_and_the_run_resumes(whole, started, tmp_path, victim):
    port, more = free_port(), ("--set", "executor.patience=8")
    pair = [started(k, port, *more) for k in (0, 1)]
    while len(list(tmp_path.glob("out/bank/*/model-*"))) < 5:
        assert all(process.poll() is None for process in pair), "too late to kill one"
        time.sleep(0.01)
    pair[victim].send_signal(signal.SIGKILL)
    killed = time.monotonic()
    _, said = pair[1 - victim].communicate(timeout=60)
    assert time.monotonic() - killed < 60
    assert pair[1 - victim].returncode != 0
    if victim == 1:
        assert pair[0].returncode == 4 and "process 1 gave no sign of life for 8 s" in said
        assert "start all processes again" in said
    else:  # the coordinator is process 0 itself: JAX's own client notices first
        assert "does not answer" in said or "another task died" in said
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.glob("out/bank/*/model-*")}
    port = free_port()
    pair = [started(k, port, *more) for k in (0, 1)]
    ends = [process.communicate(timeout=240) for process in pair]
    assert [process.returncode for process in pair] == [0, 0], ends
    assert (tmp_path / "out" / whole.name / "table.csv").read_bytes() == (whole / "table.csv").read_bytes()
    assert all(path.stat().st_mtime_ns == when for path, when in kept.items()), "what was finished is not made again"


def test_a_process_that_sees_another_folder_is_told_and_ends_both(started):
    port = free_port()
    pair = [started(k, port, out=f"own-{k}") for k in (0, 1)]
    ends = [process.communicate(timeout=90) for process in pair]
    assert pair[1].returncode == 2 and "does not see what process 0 writes there" in ends[1][1], ends
    assert pair[0].returncode == 4 and "process 1 ended: ConfigError" in ends[0][1], ends


def test_wrong_settings_compute_nothing(started, tmp_path):
    process = started(2, free_port())
    _, said = process.communicate(timeout=60)
    assert process.returncode == 2 and "executor.process is 2, and 2 processes are numbered 0 to 1" in said
    process = started(0, 1, PRIVSEC_COORDINATOR="")
    _, said = process.communicate(timeout=60)
    assert process.returncode == 2 and "Give coordinator (PRIVSEC_COORDINATOR)" in said
    assert not (tmp_path / "out").exists()


def test_the_config_comes_before_the_environment(monkeypatch):
    monkeypatch.setenv(VARIABLES["process"], "3")
    monkeypatch.setenv(VARIABLES["processes"], "4")
    assert Distributed(coordinator="a:1").resolved == {"coordinator": "a:1", "processes": 4, "process": 3}
    assert Distributed(process=1).resolved["process"] == 1
    monkeypatch.setenv(VARIABLES["processes"], "many")
    with pytest.raises(ConfigError, match="PRIVSEC_PROCESSES is 'many'"):
        Distributed().resolved


def test_who_computes_does_not_name_the_run():
    local = load(SHARED)
    other = load(SHARED, ["executor.processes=2"], "distributed")
    assert isinstance(other.executor, Distributed) and other.executor.processes == 2
    assert other.digest == local.digest
    kept = load({**SHARED, "executor": {"name": "distributed", "patience": 9}}, (), "distributed")
    assert kept.executor == Distributed(patience=9)
    assert load({**SHARED, "executor": {"name": "distributed"}}, (), "local").executor == local.executor
    with pytest.raises(ConfigError, match="coordinator"):
        load({**SHARED, "executor": {"name": "distributed", "coordinator": "no port"}})
