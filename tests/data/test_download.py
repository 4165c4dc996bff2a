from __future__ import annotations

import functools
import hashlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from privsec.core.errors import DataError
from privsec.data.download import Download, download


class Quiet(http.server.SimpleHTTPRequestHandler):
    asked: list[str]

    def log_message(self, *args):
        self.asked.append(self.path)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A web server on this machine with two files; the cache is a fresh folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for proxy in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(proxy, raising=False)
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "a.bin").write_bytes(b"first")
    (tmp_path / "web" / "b.bin").write_bytes(b"second")
    Quiet.asked = []
    handler = functools.partial(Quiet, directory=str(tmp_path / "web"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def known(host: str, name: str, content: bytes) -> Download:
    return Download(f"{host}/{name}", hashlib.sha256(content).hexdigest())


def test_a_file_is_fetched_once(host: str):
    path = download("toy", (known(host, "a.bin", b"first"),))
    assert path.read_bytes() == b"first"
    assert path.parts[-3:] == ("data", "toy", "a.bin")
    assert download("toy", (known(host, "a.bin", b"first"),)) == path
    assert Quiet.asked == ["/a.bin"]


def test_several_files_share_a_folder(host: str):
    folder = download("toy", (known(host, "a.bin", b"first"), known(host, "b.bin", b"second")))
    assert sorted(file.name for file in folder.iterdir()) == ["a.bin", "b.bin"]


def test_a_file_with_another_checksum_is_not_kept(host: str, tmp_path: Path):
    with pytest.raises(
        DataError, match=r"toy: .*/a\.bin is not the file whose SHA-256 is known.*nothing was kept.*`path:`"
    ):
        download("toy", (known(host, "a.bin", b"expected"),))
    assert not [file for file in (tmp_path / "cache").rglob("*") if file.is_file()]


def test_no_file_and_no_host_say_what_to_do(host: str):
    with pytest.raises(
        DataError, match=r"could not download .*/none\.bin.*404.*fetch none\.bin elsewhere, then write `path:`"
    ):
        download("toy", (known(host, "none.bin", b""),))
    with pytest.raises(DataError, match=r"could not download .*PRIVSEC_DATA"):
        download("toy", (known("http://127.0.0.1:9", "a.bin", b""),))
