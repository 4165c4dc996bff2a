"""Where numbers come from: versions, device, data, git revision, seconds."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import platformdirs

from privsec import __version__
from privsec.core import keys
from privsec.core.data import Dataset
from privsec.measures.copies import copies
from privsec.nets.base import parameter_count
from privsec.runner.config import Experiment
from privsec.runner.results import read_json
from privsec.runner.stages import Stages
from privsec.runner.world import World

PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "scipy", "dp-accounting")


def record(experiment: Experiment, folder: Path, stages: Stages, facts: Mapping[str, Any]) -> dict[str, Any]:
    """The content of `record.json`. Seconds and programs add up over the invocations that a run took."""
    path = folder / "record.json"
    before = read_json(path) if path.exists() else {}
    return {
        **{name: before[name] for name in ("data", "lineage") if name in before},
        **facts,
        "privsec": __version__,
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "device": ", ".join(sorted({device.device_kind for device in jax.devices()})),
        "machine": {"processor": _processor(), "cores": os.cpu_count(), "system": platform.system()},
        "seeds": list(experiment.seeds),
        "git": _git_revision(),
        "seconds": _summed(before.get("seconds", {}), stages.seconds),
        "compiling": _summed(before.get("compiling", {}), stages.compiling),
        "programs": _summed(before.get("programs", {}), stages.programs),
    }


def _summed(before: Mapping[str, float], now: Mapping[str, float]) -> dict[str, float]:
    return {name: round(before.get(name, 0) + now.get(name, 0), 3) for name in {**before, **now}}


def data_facts(dataset: Dataset, world: World) -> dict[str, Any]:
    """What the report says about the data."""
    return {
        "source": dataset.source,
        "sha256": dataset.sha256,
        "records": dataset.size,
        "shape": list(dataset.shape),
        "num_classes": dataset.num_classes,
        "class_names": list(dataset.class_names),
        "group_names": {name: list(names) for name, names in dataset.group_names.items()},
        "class_counts": np.bincount(dataset.y, minlength=dataset.num_classes).tolist(),
        "candidates": world.candidates.size,
        "population": world.population.size,
        "holdout": world.holdout.size,
        "parameters": parameter_count(world.model),
        "copies": _copies(world),
    }


def _copies(world: World) -> dict[str, float]:
    """Candidates that are there more than once, or public too."""
    public = np.concatenate([np.asarray(world.population.x), np.asarray(world.holdout.x)])
    rng = keys.generator(keys.derive(world.root, "copies"))
    return copies(np.asarray(world.candidates.x), world.member, public, rng)


def enable_compilation_cache() -> None:
    """Lets XLA keep compiled programs in the user's cache folder, unless the user has chosen one."""
    if jax.config.jax_compilation_cache_dir is None:  # type: ignore[attr-defined]
        jax.config.update("jax_compilation_cache_dir", str(platformdirs.user_cache_path("privsec") / "xla"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


def _processor() -> str:
    """The processor's name as the system gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _git_revision() -> str:
    """The revision of the working directory, with `+` where files are changed; empty outside a checkout."""
    try:
        command = ["git", "describe", "--always", "--dirty=+", "--exclude=*"]
        found = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return found.stdout.strip()
