"""Every built-in data set: real files where there are any, and every layout in which the originals are passed on."""

from __future__ import annotations

import csv
import gzip
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest

from privsec.core.data import Dataset
from privsec.core.errors import DataError
from privsec.data import DATASETS
from privsec.data.adult import COLUMNS, Adult
from privsec.data.breast_cancer import BreastCancer
from privsec.data.cifar10 import CIFAR10
from privsec.data.digits import Digits
from privsec.data.fashion_mnist import FashionMNIST
from privsec.data.image_folder import ImageFolder
from privsec.data.location30 import Location30
from privsec.data.mnist import MNIST
from privsec.data.orl_faces import ORLFaces
from privsec.data.purchase100 import Purchase100
from privsec.data.splits import standardized
from privsec.data.texas100 import Texas100


def linear_accuracy(data: Dataset) -> float:
    """Held-out accuracy of a ridge regression on one-hot labels (of thinned images): do labels belong to records?"""
    rows = np.random.default_rng(0).permutation(data.size)
    fit, test = rows[::2], rows[1::2]
    x, stride = standardized(data, fit).x, max(1, data.shape[0] // 8) if data.is_image else 1
    x = (x[:, ::stride, ::stride] if data.is_image else x).reshape(data.size, -1).astype(np.float64)
    x = np.c_[x, np.ones(data.size)]
    gram = x[fit].T @ x[fit] + 1e-3 * len(fit) * np.eye(x.shape[1])
    weights = np.linalg.solve(gram, x[fit].T @ np.eye(data.num_classes)[data.y[fit]])
    return float(((x[test] @ weights).argmax(axis=1) == data.y[test]).mean())


def same(a: Dataset, b: Dataset) -> bool:
    return np.array_equal(a.x, b.x) and np.array_equal(a.y, b.y)


def test_bundled_data_sets():
    digits, tumors = Digits().load(), BreastCancer().load()
    assert digits.x.shape == (1797, 8, 8, 1)
    assert (digits.x.min(), digits.x.max(), digits.num_classes) == (0, 1, 10)
    assert linear_accuracy(digits) > 0.9
    assert tumors.x.shape == (569, 30)
    assert tumors.standardize.all()
    assert tumors.feature_names[0] == "mean radius"
    assert tumors.class_names == ("malignant", "benign")
    assert linear_accuracy(tumors) > 0.92


@pytest.mark.data
def test_location30(real_data):
    path = real_data("location30.npz")
    data = Location30(path=str(path)).load()
    assert data.x.shape == (5010, 446)
    assert set(np.unique(data.x)) == {0, 1}
    assert len(np.unique(data.y)) == data.num_classes == 30
    assert data.box == (0, 1)
    assert data.standardize is None
    assert data.sha256 == "5629a065a7fe9fd5fb921f6cb34ffb9f01d5a1c392b482760ef02c046b828b64"
    assert linear_accuracy(data) > 0.4


@pytest.mark.data
def test_location30_in_the_original_layout(real_data, tmp_path: Path):
    expected = Location30(path=str(real_data("location30.npz"))).load()
    rows = zip((expected.y + 1).tolist(), expected.x.astype(int).tolist(), strict=True)
    (tmp_path / "bangkok").write_text("\n".join(f'"{label}",{",".join(map(str, bits))}' for label, bits in rows))
    assert same(Location30(path=str(tmp_path / "bangkok")).load(), expected)
    with tarfile.open(tmp_path / "dataset_location.tgz", "w:gz", compresslevel=1) as archive:
        archive.add(tmp_path / "bangkok", "bangkok")
    assert same(Location30(path=str(tmp_path / "dataset_location.tgz")).load(), expected)


@pytest.mark.data
def test_mnist(real_data):
    data = MNIST(path=str(real_data("mnist.npz"))).load()
    assert data.x.shape == (70_000, 28, 28, 1)
    assert data.x.dtype == np.float32
    assert (data.x.min(), data.x.max(), data.num_classes) == (0, 1, 10)
    assert data.y[:5].tolist() == [5, 0, 4, 1, 9]
    assert np.bincount(data.y).tolist() == [6903, 7877, 6990, 7141, 6824, 6313, 6876, 7293, 6825, 6958]
    thin = MNIST(path=str(real_data("mnist.npz")), limit=4000).load()
    assert (abs(np.bincount(thin.y) - np.bincount(data.y) * 4000 / 70_000) <= 1).all()
    assert linear_accuracy(thin) > 0.75


@pytest.mark.data
def test_cifar10(real_data):
    data = CIFAR10(path=str(real_data("cifar10_small.npz"))).load()
    assert data.x.shape == (6000, 32, 32, 3)
    assert np.bincount(data.y).tolist() == [600] * 10
    assert data.class_names[3] == "cat"
    assert linear_accuracy(data) > 0.2


@pytest.mark.data
def test_adult(real_data):
    path = real_data("adult.csv")
    data = Adult(path=str(path)).load()
    assert data.x.shape == (48_842, 108)
    assert data.class_names == ("<=50K", ">50K")
    assert np.bincount(data.y).tolist() == [37_155, 11_687]
    numeric = [name for name, scaled in zip(data.feature_names, data.standardize, strict=True) if scaled]
    assert numeric == ["age", "fnlwgt", "education-num", "capital-gain", "capital-loss", "hours-per-week"]
    missing = {name: int(data.x[:, k].sum()) for k, name in enumerate(data.feature_names) if name.endswith("=missing")}
    assert missing == {"workclass=missing": 2799, "occupation=missing": 2809, "native-country=missing": 857}
    assert np.bincount(data.sensitive["sex"]).tolist() == [16_192, 32_650]
    assert len(np.unique(data.sensitive["race"])) == 5
    assert linear_accuracy(data) > 0.82
    assert Adult(path=str(path), missing="drop").load().size == 45_222
    with pytest.raises(
        DataError, match=r"adult\.csv: 2799 missing values in column 'workclass', the first in record 27"
    ):
        Adult(path=str(path), missing="error").load()


@pytest.mark.data
def test_adult_in_the_original_layout(real_data, tmp_path: Path):
    with real_data("adult.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))[30_000:35_000]  # the training part ends at 32,561
    with (tmp_path / "adult.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    lines = {
        part: [", ".join(row[name] for name in COLUMNS) for row in rows if row["split"] == part]
        for part in ("train", "test")
    }
    (tmp_path / "adult.data").write_text("\n".join(lines["train"]) + "\n\n")
    (tmp_path / "adult.test").write_text("|1x3 Cross validator\n" + ".\n".join(lines["test"]) + ".\n")
    assert same(Adult(path=str(tmp_path)).load(), Adult(path=str(tmp_path / "adult.csv")).load())
    (tmp_path / "adult.test").unlink()
    with pytest.raises(DataError, match=r"has no adult\.test\. Write `path:`"):
        Adult(path=str(tmp_path)).load()


@pytest.mark.data
def test_orl_faces_in_both_layouts(real_data, tmp_path: Path):
    path = real_data("orl_faces.npz")
    data = ORLFaces(path=str(path)).load()
    assert data.x.shape == (400, 112, 92, 1)
    assert np.bincount(data.y).tolist() == [10] * 40
    small = ORLFaces(path=str(path), scale=4).load()
    assert small.x.shape == (400, 28, 23, 1)
    np.testing.assert_allclose(small.x[7, 3, 5, 0], data.x[7, 12:16, 20:24, 0].mean(), rtol=1e-5)
    flat = small.x.reshape(400, -1)
    distance = ((flat[:, None] - flat[None]) ** 2).sum(axis=2)
    np.fill_diagonal(distance, np.inf)
    assert (data.y[distance.argmin(axis=1)] == data.y).mean() > 0.9  # the nearest other face is the same person's

    for row in range(400):
        folder = tmp_path / f"s{data.y[row] + 1}"
        folder.mkdir(exist_ok=True)
        pixels = np.round(data.x[row, ..., 0] * 255).astype(np.uint8)
        (folder / f"{row % 10 + 1}.pgm").write_bytes(b"P5\n92 112\n255\n" + pixels.tobytes())
    assert same(ORLFaces(path=str(tmp_path)).load(), data)


@pytest.mark.data
@pytest.mark.parametrize(
    ("config", "file", "shape", "classes", "accuracy"),
    [
        ({"name": "npz"}, "spambase.npz", (4601, 57), 2, 0.85),
        (
            {"name": "npz", "features": ["x_train", "x_test"], "labels": ["y_train", "y_test"], "box": [0, 1]},
            "usps.npz",
            (9298, 16, 16, 1),
            10,
            0.8,
        ),
        ({"name": "npz", "features": ["x_train"], "labels": ["y_train"]}, "gtsrb32.npz", (4440, 32, 32, 3), 43, 0.5),
        ({"name": "csv", "target": "Gender", "missing": "drop"}, "steak_risk_survey.csv", (331, 43), 2, 0.45),
        (
            {
                "name": "csv",
                "target": "two_year_recid",
                "missing": "indicate",
                "sensitive": ["race", "sex"],
                "drop": [
                    "id",
                    "compas_screening_date",
                    "c_jail_in",
                    "c_jail_out",
                    "c_offense_date",
                    "c_arrest_date",
                    "c_charge_desc",
                    "r_offense_date",
                    "r_charge_desc",
                    "r_jail_in",
                    "r_jail_out",
                    "vr_offense_date",
                    "screening_date",
                    "v_screening_date",
                    "in_custody",
                    "out_custody",
                ],
            },
            "compas_two_years.csv",
            (7214, 147),
            2,
            0.7,
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_generic_sources_read_real_files(real_data, config, file, shape, classes, accuracy):
    data = DATASETS.parse(config | {"path": str(real_data(file))}).load()
    assert data.x.shape == shape
    assert data.num_classes == classes
    assert linear_accuracy(data) > accuracy


def test_a_csv_with_holes_is_refused_until_told_what_to_do(real_data):
    config = {"name": "csv", "path": str(real_data("iwpc_warfarin.csv")), "target": "Race"}
    with pytest.raises(
        DataError, match=r"iwpc_warfarin\.csv: 4 missing values in column 'Gender'.*Write `missing: drop`"
    ):
        DATASETS.parse(config).load()


@pytest.mark.parametrize("spec", [Purchase100, Texas100])
def test_bit_tables_in_every_layout(tmp_path: Path, spec: type[Purchase100] | type[Texas100]):
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 2, (200, spec.columns)), np.arange(200) % 100
    rows = [",".join(map(str, row)) for row in x.tolist()]
    if len(spec.members) == 1:
        texts = ["\n".join(f"{label + 1},{row}" for label, row in zip(y, rows, strict=True))]
    else:
        texts = ["\n".join(rows), "\n".join(str(label + 1) for label in y)]
    for member, text in zip(spec.members, texts, strict=True):
        file = tmp_path / "tree" / "texas" / member
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n")
    with tarfile.open(tmp_path / "a.tgz", "w:gz", compresslevel=1) as archive:
        archive.add(tmp_path / "tree", "tree")
    np.savez(tmp_path / "a.npz", features=x.astype(bool), labels=y)
    np.savez(tmp_path / "b.npz", features=x.astype(np.float64), labels=np.eye(100)[y])
    for name in ("tree", "a.tgz", "a.npz", "b.npz"):
        data = spec(path=str(tmp_path / name)).load()
        assert np.array_equal(data.x, x)
        assert data.y.tolist() == y.tolist()
        assert data.num_classes == 100


def test_wrong_bit_tables_are_refused(tmp_path: Path):
    x, y = np.random.default_rng(0).integers(0, 2, (200, 600)), np.arange(200) % 100
    for arrays, message in (
        ({"features": x[:, 1:], "labels": y}, r"a\.npz: records of shape \(599,\); purchase100 has 600 columns"),
        ({"features": x, "labels": y + 1}, r"label 100 of record 99 is outside 0\.\.99.*1 need 1 subtracted"),
        ({"features": x * 2, "labels": y}, r"a\.npz\): values lie in \[0, 2\], outside the box"),
    ):
        np.savez(tmp_path / "a.npz", **arrays)
        with pytest.raises(DataError, match=message):
            Purchase100(path=str(tmp_path / "a.npz")).load()


@pytest.mark.parametrize("spec", [MNIST, FashionMNIST])
@pytest.mark.parametrize("packed", [True, False])
def test_idx_folders(tmp_path: Path, spec: type[MNIST], packed: bool):
    rng = np.random.default_rng(0)
    parts = {
        "train": (rng.integers(0, 256, (30, 28, 28)), np.arange(30) % 10),
        "t10k": (rng.integers(0, 256, (10, 28, 28)), np.arange(10)),
    }
    for part, arrays in parts.items():
        for kind, array in zip(("images-idx3", "labels-idx1"), arrays, strict=True):
            content = (
                struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()
            )
            name = f"{part}-{kind}-ubyte" + (".gz" if packed else "")
            (tmp_path / name).write_bytes(gzip.compress(content) if packed else content)
    data = spec(path=str(tmp_path)).load()
    np.testing.assert_allclose(data.x[..., 0] * 255, np.concatenate([parts["train"][0], parts["t10k"][0]]), atol=1e-4)
    assert data.y.tolist() == [*np.arange(30) % 10, *range(10)]
    next(tmp_path.glob("t10k-labels*")).unlink()
    with pytest.raises(
        DataError, match=r"has no t10k-labels-idx1-ubyte \(nor t10k-labels-idx1-ubyte\.gz\)\. Write `path:`"
    ):
        spec(path=str(tmp_path)).load()


def test_cifar10_binary_in_folder_and_archive(tmp_path: Path):
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (60, 32, 32, 3)).astype(np.uint8), np.arange(60, dtype=np.uint8) % 10
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    names = [f"data_batch_{k}.bin" for k in range(1, 6)] + ["test_batch.bin"]
    for k, name in enumerate(names):
        rows = slice(10 * k, 10 * k + 10)
        records = np.c_[labels[rows], images[rows].transpose(0, 3, 1, 2).reshape(10, -1)]
        (folder / name).write_bytes(records.tobytes())
    with tarfile.open(tmp_path / "cifar-10-binary.tar.gz", "w:gz", compresslevel=1) as archive:
        archive.add(folder, folder.name)
    for path in (folder, tmp_path / "cifar-10-binary.tar.gz"):
        data = CIFAR10(path=str(path)).load()
        np.testing.assert_allclose(data.x, images / np.float32(255), rtol=1e-6)
        assert data.y.tolist() == labels.tolist()

    (folder / names[2]).write_bytes((folder / names[2]).read_bytes()[:-5])
    with pytest.raises(DataError, match=r"data_batch_3\.bin has 30725 bytes, not a multiple of 3073.*truncated"):
        CIFAR10(path=str(folder)).load()
    (folder / names[2]).unlink()
    with pytest.raises(DataError, match=r"has no 'data_batch_3\.bin' inside"):
        CIFAR10(path=str(folder)).load()
    (folder / "data_batch_1").write_bytes(b"pickle")
    with pytest.raises(DataError, match=r"the Python version of CIFAR-10, which is pickled.*Get the binary version"):
        CIFAR10(path=str(folder)).load()


def test_pictures_of_another_size_are_refused(tmp_path: Path):
    arrays = {
        "x_train": np.zeros((4, 8, 8), np.uint8),
        "y_train": np.zeros(4),
        "x_test": np.zeros((2, 8, 8), np.uint8),
        "y_test": np.zeros(2),
    }
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(DataError, match=r"a\.npz: images of shape \(8, 8, 1\); mnist has \(28, 28, 1\)"):
        MNIST(path=str(tmp_path / "a.npz")).load()
    np.savez(tmp_path / "b.npz", **arrays | {"x_test": np.zeros((2, 9, 9), np.uint8)})
    with pytest.raises(DataError, match="they must agree"):
        MNIST(path=str(tmp_path / "b.npz")).load()
    np.savez(tmp_path / "c.npz", images=np.zeros((4, 8, 8)), labels=np.zeros(4))
    with pytest.raises(DataError, match=r"c\.npz: holds float64 \(8, 8, 1\); wanted bytes, 112 x 92 pixels"):
        ORLFaces(path=str(tmp_path / "c.npz")).load()


def test_image_folder(tmp_path: Path):
    from PIL import Image

    rng = np.random.default_rng(0)
    for label in ("cat", "dog"):
        (tmp_path / label).mkdir()
        for number in range(3):
            Image.fromarray(rng.integers(0, 256, (6, 4, 3)).astype(np.uint8)).save(tmp_path / label / f"{number}.png")
    data = ImageFolder(path=str(tmp_path), limit=4).load()
    assert data.x.shape == (4, 6, 4, 3)
    assert data.class_names == ("cat", "dog")
    assert data.y.tolist() == [0, 0, 1, 1]
    assert data.box == (0, 1)
    assert len(data.sha256) == 64
    assert ImageFolder(path=str(tmp_path), size=(3, 2), gray=True).load().x.shape == (6, 3, 2, 1)
