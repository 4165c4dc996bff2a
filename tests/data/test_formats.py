from __future__ import annotations

import gzip
import io
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest

from privsec.core.errors import DataError
from privsec.data import formats


def idx_bytes(array: np.ndarray) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


def test_npz_round_trip(tmp_path: Path):
    np.savez_compressed(tmp_path / "a.npz", x=np.arange(4), y=np.ones(2))
    x, y = formats.read_npz(tmp_path / "a.npz", ("x", "y"))
    assert x.tolist() == [0, 1, 2, 3]
    assert y.tolist() == [1, 1]


def test_npz_lists_its_keys_and_the_nearest(tmp_path: Path):
    np.savez(tmp_path / "a.npz", feature=np.arange(4))
    with pytest.raises(
        DataError, match=r"a\.npz: has no array 'features'; it holds feature\. Did you mean 'feature'\?"
    ):
        formats.read_npz(tmp_path / "a.npz", ("features",))


def test_npz_never_unpickles(tmp_path: Path):
    np.savez(tmp_path / "a.npz", x=np.array([{"a": 1}], dtype=object))
    with pytest.raises(DataError, match=r"a\.npz: cannot be read as npz without pickles"):
        formats.read_npz(tmp_path / "a.npz", ("x",))


@pytest.mark.parametrize("keep", [0, 1, 10, 200, 4000])
def test_truncated_npz_says_so(tmp_path: Path, keep: int):
    np.savez(tmp_path / "whole.npz", x=np.random.default_rng(0).random(1000))
    (tmp_path / "cut.npz").write_bytes((tmp_path / "whole.npz").read_bytes()[:keep])
    with pytest.raises(DataError, match=r"cut\.npz: cannot be read as npz.*truncated.*fetch it again"):
        formats.read_npz(tmp_path / "cut.npz", ("x",))


def test_npz_damaged_inside_says_so(tmp_path: Path):
    np.savez_compressed(tmp_path / "a.npz", x=np.random.default_rng(0).random(1000))
    content = bytearray((tmp_path / "a.npz").read_bytes())
    content[500:600] = bytes(100)
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.npz: cannot be read"):
        formats.read_npz(tmp_path / "a.npz", ("x",))


def test_npy_is_told_from_npz(tmp_path: Path):
    np.save(tmp_path / "a.npy", np.arange(3))
    with pytest.raises(DataError, match=r"is one array \(npy\)"):
        formats.read_npz(tmp_path / "a.npy", ("x",))


def test_csv_is_read_as_stripped_text(tmp_path: Path):
    (tmp_path / "a.csv").write_bytes('\ufeffname, size\n\n"Doe, J", 3 \n|note\nx,4\n'.encode())
    assert formats.read_csv(tmp_path / "a.csv", skip="|") == [["name", "size"], ["Doe, J", "3"], ["x", "4"]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"a,b\n1,2\n1,2,3\n",
            r"line 3 has 3 cells, the first line 2\. A cell that contains the delimiter ',' must be",
        ),
        (b"a,b\n1\n", "line 2 has 1 cells"),
        (b"na\xefve,b\n1,2\n", r"is not utf-8 text.*`encoding:`, for example latin-1"),
        (b'a,b\n"1,2\n', "not well-formed csv near line 2.*Mend the quotes"),
        (b"\n\n", "is empty"),
    ],
)
def test_csv_says_what_is_wrong(tmp_path: Path, content: bytes, message: str):
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(DataError, match=rf"a\.csv: .*{message}"):
        formats.read_csv(tmp_path / "a.csv")


def test_csv_in_another_encoding(tmp_path: Path):
    (tmp_path / "a.csv").write_bytes("größe;b\n1;2\n".encode("latin-1"))
    assert formats.read_csv(tmp_path / "a.csv", delimiter=";", encoding="latin-1")[0] == ["größe", "b"]
    with pytest.raises(DataError, match="is not no-such text"):
        formats.read_csv(tmp_path / "a.csv", encoding="no-such")


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_idx_round_trip(tmp_path: Path, suffix: str):
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    content = idx_bytes(array)
    path = tmp_path / f"images-idx3-ubyte{suffix}"
    path.write_bytes(gzip.compress(content) if suffix else content)
    assert np.array_equal(formats.read_idx(path), array)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (idx_bytes(np.zeros((2, 3)))[:-1], r"announces \(2, 3\), but 5 bytes follow"),
        (idx_bytes(np.zeros((2, 3))) + b"x", "7 bytes follow"),
        (idx_bytes(np.zeros((2, 3)))[:3], "cannot be read as idx"),
        (b"\x89PNG" + bytes(20), "starts with 89504e47"),
        (b"", "cannot be read as idx"),
    ],
)
def test_broken_idx_says_so(tmp_path: Path, content: bytes, message: str):
    (tmp_path / "x-idx1-ubyte").write_bytes(content)
    with pytest.raises(DataError, match=rf"x-idx1-ubyte: .*{message}.*truncated"):
        formats.read_idx(tmp_path / "x-idx1-ubyte")


def test_truncated_gzip_says_so(tmp_path: Path):
    (tmp_path / "x.gz").write_bytes(gzip.compress(idx_bytes(np.zeros((9, 9))))[:-9])
    with pytest.raises(DataError, match=r"x\.gz: cannot be read as idx.*truncated"):
        formats.read_idx(tmp_path / "x.gz")


def test_members_of_a_folder_and_of_an_archive_are_the_same(tmp_path: Path):
    folder = tmp_path / "texas" / "100"
    folder.mkdir(parents=True)
    (folder / "feats").write_bytes(b"0,1\n1,1\n")
    (folder / "labels").write_bytes(b"1\n2\n")
    with tarfile.open(tmp_path / "a.tgz", "w:gz", compresslevel=1) as archive:
        archive.add(tmp_path / "texas", "./texas")
    for path in (tmp_path / "texas", tmp_path / "a.tgz", folder):
        with formats.members(path, ("100/feats", "100/labels")) as streams:
            tables = [formats.read_bits(stream, path) for stream in streams]
        assert [table.tolist() for table in tables] == [[[0, 1], [1, 1]], [[1], [2]]]
    with (
        pytest.raises(DataError, match=r"has no '100/names' inside; it holds .*feats"),
        formats.members(tmp_path / "a.tgz", ("100/names",)),
    ):
        pass
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a.tgz", "texas"]  # nothing was unpacked


def test_broken_archives_say_so(tmp_path: Path):
    with tarfile.open(tmp_path / "a.tgz", "w:gz", compresslevel=1) as archive:
        info = tarfile.TarInfo("data")
        info.size = 10_000
        archive.addfile(info, io.BytesIO(np.random.default_rng(0).bytes(10_000)))
    content = (tmp_path / "a.tgz").read_bytes()
    for broken in (content[:5000], b"no archive", b""):
        (tmp_path / "a.tgz").write_bytes(broken)
        with (
            pytest.raises(DataError, match=r"a\.tgz: cannot be read as tar archive"),
            formats.members(tmp_path / "a.tgz", ("data",)),
        ):
            pass


@pytest.mark.parametrize(
    ("content", "message"),
    [("1,0\n1\n", "row 2|columns changed"), ("1,x\n", "x"), ("1,300\n", "300"), ("1,-1\n", "-1"), ("1,nan\n", "nan")],
)
def test_broken_bit_tables_say_so(tmp_path: Path, content: str, message: str):
    path = tmp_path / "bits"
    path.write_text(content)
    with (
        pytest.raises(DataError, match=rf"bits: cannot be read as a table of whole numbers.*({message})"),
        path.open("rb") as stream,
    ):
        formats.read_bits(stream, path)


def pgm(pixels: np.ndarray) -> bytes:
    return f"P5\n{pixels.shape[1]} {pixels.shape[0]}\n255\n".encode() + pixels.astype(np.uint8).tobytes()


def test_image_folder_sorts_classes_and_files_by_number(tmp_path: Path):
    for person in (1, 2, 10):
        (tmp_path / f"s{person}").mkdir()
        for number in (1, 2, 10):
            (tmp_path / f"s{person}" / f"{number}.pgm").write_bytes(pgm(np.full((3, 2), 10 * person + number)))
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "README").write_text("not a class")
    x, y, names = formats.read_image_folder(tmp_path, gray=True)
    assert names == ("s1", "s2", "s10")
    assert y.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert x.shape == (9, 3, 2, 1)
    assert x[:, 0, 0, 0].tolist() == [11, 12, 20, 21, 22, 30, 101, 102, 110]


def test_images_keep_color_and_resize(tmp_path: Path):
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert np.array_equal(formats.read_image(tmp_path / "a.png"), pixels)
    assert formats.read_image(tmp_path / "a.png", gray=True).shape == (4, 6, 1)
    assert formats.read_image(tmp_path / "a.png", size=(2, 3)).shape == (2, 3, 3)


def test_image_folder_says_what_is_wrong(tmp_path: Path):
    with pytest.raises(DataError, match="has no sub-folders"):
        formats.read_image_folder(tmp_path)
    for name, shape in (("a", (3, 2)), ("b", (4, 2))):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.pgm").write_bytes(pgm(np.zeros(shape)))
    with pytest.raises(DataError, match=r"b/1\.pgm: is 4 x 2, the first image 3 x 2 pixels\. Write `size:"):
        formats.read_image_folder(tmp_path)
    assert formats.read_image_folder(tmp_path, size=(3, 2))[0].shape == (2, 3, 2, 3)
    (tmp_path / "b" / "1.pgm").write_bytes(pgm(np.zeros((3, 2)))[:-2])
    with pytest.raises(DataError, match=r"b/1\.pgm: cannot be read as an image"):
        formats.read_image_folder(tmp_path)
    (tmp_path / "b" / "1.pgm").unlink()
    with pytest.raises(DataError, match="b: holds no images"):
        formats.read_image_folder(tmp_path)
    with pytest.raises(DataError, match="is not a folder"):
        formats.read_image_folder(tmp_path / "a" / "1.pgm")


def test_sha256_of_a_folder_depends_on_names_and_contents(tmp_path: Path):
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "a").write_bytes(b"1")
    assert formats.sha256(tmp_path / "f" / "a") == "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b"
    first = formats.sha256(tmp_path / "f")
    (tmp_path / "f" / "a").rename(tmp_path / "f" / "b")
    second = formats.sha256(tmp_path / "f")
    (tmp_path / "f" / "b").write_bytes(b"2")
    assert len({first, second, formats.sha256(tmp_path / "f")}) == 3
