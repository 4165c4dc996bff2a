"""Public files, fetched once into the user's cache and never without a checksum."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from privsec.core.errors import DataError


class Download(NamedTuple):
    """A public file: where it lies and the SHA-256 it must have."""

    url: str
    sha256: str

    @property
    def file(self) -> str:
        """The file's own name."""
        return self.url.rsplit("/", 1)[-1]


def download(name: str, files: tuple[Download, ...]) -> Path:
    """The verified files in the user's cache: the file itself when there is one, else the folder that holds them.

    Args:
        name: the data set, which names the folder below the cache.
        files: what to fetch; a file that is there already with the right checksum is not fetched again.

    Raises:
        DataError: no network, or a file that is not the one whose checksum is known.
    """
    import platformdirs
    import pooch

    folder = Path(platformdirs.user_cache_dir("privsec")) / "data" / name
    for file in files:
        try:
            pooch.retrieve(file.url, known_hash=f"sha256:{file.sha256}", fname=file.file, path=folder)
        except ValueError as error:
            raise DataError(
                f"{name}: {file.url} is not the file whose SHA-256 is known ({file.sha256}): {error}. The host changed "
                "it or the transfer broke; nothing was kept. Get the file from a source you trust and write `path:`."
            ) from None
        except OSError as error:
            raise DataError(
                f"{name}: could not download {file.url} to {folder}: {error}. Where there is no network, fetch"
                f" {', '.join(f.file for f in files)} elsewhere, then write `path:` or set $PRIVSEC_DATA."
            ) from None
    return folder / files[0].file if len(files) == 1 else folder
