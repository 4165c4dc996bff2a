from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privsec.core.errors import DataError
from privsec.core.spec import SpecError
from privsec.data import DATASETS
from privsec.data.base import FileSource, stratified
from privsec.data.digits import Digits
from privsec.data.location30 import Location30
from privsec.data.npz import Npz
from privsec.data.purchase100 import Purchase100

NAMES = (
    "adult breast_cancer cifar10 compas csv digits fashion_mnist gtsrb image_folder iwpc_warfarin location30 mnist npz"
    " orl_faces purchase100 sms_spam spambase squares steak_survey texas100 usps"
).split()
FILES = [spec for spec in DATASETS.specs.values() if issubclass(spec, FileSource)]


def write_location(path: Path, count: int = 90) -> None:
    rng = np.random.default_rng(0)
    np.savez(path, features=rng.integers(0, 2, (count, 446)).astype(np.uint8), labels=np.arange(count) % 30)


def test_the_catalog_finds_every_data_set():
    assert list(DATASETS.specs) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_spec_is_its_json(name: str):
    given = {"name": name, "limit": 50, "path": "a", "target": "y"}
    spec = DATASETS.parse({key: value for key, value in given.items() if key in DATASETS.specs[name].model_fields})
    again = DATASETS.parse(spec.to_json())
    assert again == spec
    assert hash(again) == hash(spec)
    assert spec.origin


def test_a_wrong_name_or_key_is_told():
    with pytest.raises(SpecError, match="Did you mean 'location30'"):
        DATASETS.parse({"name": "location"})
    with pytest.raises(SpecError, match="Did you mean 'path'"):
        DATASETS.parse({"name": "mnist", "pathh": "x"})
    with pytest.raises(SpecError, match="greater than or equal to 2"):
        Digits(limit=1)


@pytest.mark.parametrize("spec", FILES, ids=lambda spec: spec.model_fields["name"].default)
def test_a_missing_file_names_what_was_tried_and_what_to_write(spec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    given = {"target": "y"} if "target" in spec.model_fields else {}
    with pytest.raises(DataError) as caught:
        spec(path="nowhere/file.npz", **given).load()
    text = str(caught.value)
    assert str(tmp_path / "nowhere" / "file.npz") in text
    assert "starts at the directory the command runs in" in text
    assert f"Write `path:` of {spec.layout}" in text


def test_a_near_miss_in_the_folder_is_offered(tmp_path: Path):
    write_location(tmp_path / "location30.npz")
    with pytest.raises(DataError, match=r"Did you mean 'location30\.npz'\?"):
        Location30(path=str(tmp_path / "location_30.npz")).load()


def test_the_environment_is_searched_and_path_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "env").mkdir()
    write_location(tmp_path / "env" / "location30.npz")
    write_location(tmp_path / "mine.npz", 60)
    monkeypatch.setenv("PRIVSEC_DATA", str(tmp_path / "env"))
    assert Location30().load().size == 90
    assert Location30().load().source == str(tmp_path / "env" / "location30.npz")
    assert Location30(path=str(tmp_path / "mine.npz")).load().size == 60
    monkeypatch.chdir(tmp_path)
    assert Location30(path="mine.npz").load().size == 60


def test_without_a_known_checksum_nothing_is_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("PRIVSEC_DATA", raising=False)
    with pytest.raises(
        DataError, match=r"purchase100: no data found \(\$PRIVSEC_DATA is not set\), and no checksum.*Origin:"
    ):
        Purchase100().load()
    monkeypatch.setenv("PRIVSEC_DATA", str(tmp_path))
    with pytest.raises(DataError, match=r"tried .*purchase100\.npz, .*dataset_purchase\.tgz"):
        Purchase100().load()


@pytest.mark.parametrize("spec", FILES, ids=lambda spec: spec.model_fields["name"].default)
def test_checksums_are_sha256(spec):
    assert all(len(bytes.fromhex(file.sha256)) == 32 for file in spec.downloads)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=6), st.data())
@settings(max_examples=30, deadline=None)
def test_stratified_keeps_each_class_in_proportion(counts, draw):
    y = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    limit = draw.draw(st.integers(1, len(y)))
    rows = stratified(y, limit)
    assert len(rows) == limit
    assert (np.diff(rows) > 0).all()
    kept = np.bincount(y[rows], minlength=len(counts))
    share = np.array(counts) / len(y)
    assert (abs(kept - limit * share) <= (1 + len(counts) * share) / 2 + 1e-9).all()  # each class rounds by one half
    assert set(rows) <= set(stratified(y, min(limit + 3, len(y))))


def test_limit_is_the_same_in_every_run_and_beyond_n_keeps_all():
    small, again = Digits(limit=200).load(), Digits(limit=200).load()
    assert np.array_equal(small.x, again.x)
    assert small.x.shape == (200, 8, 8, 1)
    assert Digits(limit=10_000).load().size == 1797


def test_limit_below_two_a_class_says_to_raise_it(tmp_path: Path):
    write_location(tmp_path / "a.npz")
    with pytest.raises(DataError, match=r"location30 \(.*a\.npz\): every class needs at least 2 .*Raise `limit`"):
        Location30(path=str(tmp_path / "a.npz"), limit=40).load()


def test_npz_takes_tables_and_images(tmp_path: Path):
    rng = np.random.default_rng(0)
    images, table = rng.integers(0, 256, (8, 5, 4)).astype(np.uint8), rng.normal(size=(8, 3))
    table[:, 2] = np.arange(8) % 2
    np.savez(tmp_path / "a.npz", images=images, table=table, labels=np.arange(8) % 2, more=np.arange(8.0) % 2)
    path = str(tmp_path / "a.npz")
    pictures = Npz(path=path, features=["images", "images"], labels=["labels", "more"]).load()
    assert pictures.x.shape == (16, 5, 4, 1)
    np.testing.assert_allclose(pictures.x[8:, ..., 0], images / 255, rtol=1e-6)
    assert pictures.box == (0, 1)
    assert pictures.standardize is None
    assert Npz(path=path, features=["table"]).load().standardize.tolist() == [True, True, False]
    assert Npz(path=path, features=["table"], standardize=False).load().standardize is None
    assert Npz(path=path, features=["table"], box=(-9, 9)).load().box == (-9, 9)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "has no array 'features'; it holds table, labels, odd, text, frac"),
        ({"features": ["table"], "labels": ["odd"]}, "8 records but labels of shape"),
        ({"features": ["table"], "labels": ["text"]}, "labels are <U1, not integers"),
        ({"features": ["table"], "labels": ["frac"]}, "label 0.5 of record 1 is not a whole number"),
        ({"features": ["text"]}, "features are <U1, not numbers"),
        ({"features": ["table", "odd"], "labels": ["labels", "labels"]}, "cannot be read as joined arrays table, odd"),
        ({"features": ["table"], "box": [0, 1]}, r"outside the box \[0.0, 1.0\]"),
    ],
)
def test_npz_says_what_is_wrong(tmp_path: Path, given: dict, message: str):
    np.savez(
        tmp_path / "a.npz",
        table=np.random.default_rng(0).normal(size=(8, 3)),
        labels=np.arange(8) % 2,
        odd=np.arange(7) % 2,
        text=np.array(list("abababab")),
        frac=np.arange(8) / 2,
    )
    with pytest.raises(DataError, match=rf"a\.npz.*{message}"):
        Npz(path=str(tmp_path / "a.npz"), **given).load()


def test_importing_the_data_package_stays_light():
    heavy = ("sklearn", "matplotlib", "torch", "PIL", "pooch", "pandas")
    code = f"import sys, privsec.data; privsec.data.DATASETS.specs; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_folder_where_a_file_belongs_and_bad_shapes_are_data_errors(tmp_path: Path):
    for config in (
        {"name": "npz", "path": str(tmp_path)},
        {"name": "csv", "path": str(tmp_path), "target": "y"},
        {"name": "location30", "path": str(tmp_path)},
        {"name": "mnist", "path": str(tmp_path)},
        {"name": "cifar10", "path": str(tmp_path)},
        {"name": "adult", "path": str(tmp_path)},
        {"name": "orl_faces", "path": str(tmp_path)},
        {"name": "image_folder", "path": str(tmp_path)},
    ):
        with pytest.raises(DataError, match=str(tmp_path)):
            DATASETS.parse(config).load()
    keys = ("features", "labels", "images", "x_train", "y_train", "x_test", "y_test")
    for value in (np.float64(3), np.zeros(0), np.zeros((0, 112, 92), np.uint8), np.zeros((4, 0))):
        np.savez(tmp_path / "a.npz", **dict.fromkeys(keys, value))
        for name in ("npz", "location30", "purchase100", "mnist", "cifar10", "orl_faces"):
            with pytest.raises(DataError, match=r"a\.npz"):
                DATASETS.parse({"name": name, "path": str(tmp_path / "a.npz")}).load()
