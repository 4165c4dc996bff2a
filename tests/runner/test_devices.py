"""Eight devices in sight, and the same numbers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from privsec.runner.execute import run
from privsec.training import many

ROOT = Path(__file__).parents[2]
TINY = {
    "title": "Devices",
    "data": {"name": "digits", "limit": 400},
    "net": {"name": "mlp", "hidden": [8]},
    "training": {"epochs": 3, "batch_size": 20, "placement": "threads"},
    "population": {"models": 10, "size": 80},
    "defenses": {"none": [], "dp": [{"name": "dp_sgd", "noise_multiplier": 1.0}]},
    "attacks": [{"name": "loss"}],
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory, quiet) -> tuple[Path, Path]:
    """The folders of one run on one device by threads, and of one on eight devices that chooses by itself."""
    folder = tmp_path_factory.mktemp("devices")
    eight = {**TINY, "training": {**TINY["training"], "placement": "auto"}}
    (folder / "eight.json").write_text(json.dumps(eight))
    command = [sys.executable, "-m", "privsec", "run", folder / "eight.json", "--out", folder / "eight"]
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8"
    options = {"env": {**os.environ, "XLA_FLAGS": flags}, "cwd": ROOT, "capture_output": True, "text": True}
    done = subprocess.run(command, **options)
    assert done.returncode == 0, done.stderr
    planned = subprocess.run([*command[:3], "plan", folder / "eight.json"], **options)
    assert "8 cpu devices" in planned.stdout, planned.stdout + planned.stderr
    run(TINY, out=folder / "one", narrator=quiet)
    return folder / "one", folder / "eight"


def test_models_and_table_are_the_same_to_the_bit(runs):
    import safetensors.numpy

    models = sorted(path.relative_to(runs[0]) for path in runs[0].glob("bank/*/model-*.safetensors"))
    assert len(models) == 2 * 10
    for path in models:
        mine, other = (safetensors.numpy.load_file(folder / path) for folder in runs)
        assert mine.keys() == other.keys()
        for name in mine:
            np.testing.assert_array_equal(mine[name], other[name], err_msg=f"{path} {name}")
    tables = [next(folder.glob("devices-*/table.csv")).read_bytes() for folder in runs]
    assert tables[0] == tables[1]


def test_what_is_asked_for_is_done_and_the_rest_is_chosen():
    assert many.placement_of("vmap") == "vmap" and many.placement_of("devices") == "devices"
    assert many.placement_of("auto") == "threads"  # one CPU
