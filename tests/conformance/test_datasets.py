"""Every data set in the catalog passes the exam that privsec ships; those in files, where the files are."""

import csv

import numpy as np
import pytest

from privsec.data import DATASETS
from privsec.data.base import FileSource
from privsec.testing import SOURCE_CHECKS, examine_source

REAL = {
    "adult": {"path": "adult.csv", "limit": 2000},
    "cifar10": {"path": "cifar10_small.npz", "limit": 1000},
    "location30": {"path": "location30.npz"},
    "mnist": {"path": "mnist.npz", "limit": 1000},
    "orl_faces": {"path": "orl_faces.npz"},
    "npz": {"path": "spambase.npz"},
    "gtsrb": {"path": "gtsrb32.npz"},
    "iwpc_warfarin": {"path": "iwpc_warfarin.csv"},
    "steak_survey": {"path": "steak_risk_survey.csv"},
    "usps": {"path": "usps.npz"},
    "compas": {"path": "compas_two_years.csv"},
    "sms_spam": {"path": "sms_spam.tsv"},
    "spambase": {"path": "spambase.npz"},
}
"""Data sets of which a file may be at hand, and how much of it is examined."""
BUNDLED = [name for name, spec in DATASETS.specs.items() if not issubclass(spec, FileSource)]


@pytest.mark.parametrize("check", SOURCE_CHECKS)
@pytest.mark.parametrize("name", BUNDLED)
def test_bundled(name, check):
    SOURCE_CHECKS[check](DATASETS.parse({"name": name}))


@pytest.mark.data
@pytest.mark.parametrize("name", REAL)
def test_real(name, real_data):
    settings = REAL[name]
    examine_source(DATASETS.parse({"name": name, **settings, "path": str(real_data(settings["path"]))}))


@pytest.fixture
def own_files(tmp_path):
    """A made-up file of each generic format: name -> settings."""
    from PIL import Image

    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 4)).astype(np.float32), np.arange(60) % 3
    np.savez(tmp_path / "own.npz", features=x, labels=y)
    with (tmp_path / "own.csv").open("w", newline="") as file:
        rows = ([*map(float, row), "abc"[label], f"class {label}"] for row, label in zip(x, y, strict=True))
        csv.writer(file).writerows([["a", "b", "c", "d", "kind", "target"], *rows])
    for label in range(3):
        (tmp_path / "own" / f"class {label}").mkdir(parents=True)
        for i in range(10):
            pixels = rng.integers(0, 256, (8, 8, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "own" / f"class {label}" / f"{i}.png")
    return {
        "npz": {"path": str(tmp_path / "own.npz")},
        "csv": {"path": str(tmp_path / "own.csv"), "target": "target"},
        "image_folder": {"path": str(tmp_path / "own")},
    }


@pytest.mark.parametrize("name", ["npz", "csv", "image_folder"])
def test_own_files(name, own_files):
    examine_source(DATASETS.parse({"name": name, **own_files[name]}))


@pytest.mark.parametrize("name", DATASETS.specs)
def test_every_data_set_is_declared(name):
    """Those without a file here still say what they are, and are their config."""
    needed = {"npz": {"path": "a.npz"}, "csv": {"path": "a.csv", "target": "t"}, "image_folder": {"path": "a"}}
    source = DATASETS.parse({"name": name, **needed.get(name, {})})
    SOURCE_CHECKS["config"](source)
    SOURCE_CHECKS["declaration"](source)
