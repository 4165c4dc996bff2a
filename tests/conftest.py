"""What every test may ask for."""

from __future__ import annotations

import ctypes
import gc
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import jax
import jaxtyping
import pytest

# The mathematics states its shapes in its signatures; here they are executed, an int counting as a float. Before any of
# these modules is imported. At run time nothing is checked.
jaxtyping.install_import_hook(
    [
        "privsec.attacks",
        "privsec.core.signals",
        "privsec.defenses.outputs",
        "privsec.measures",
        "privsec.nets.convolutions",
        "privsec.nets.layers",
        "privsec.ops",
        "privsec.training.gradients",
    ],
    "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))",
)

# Machines are shared and compile times vary: no deadline. In CI the same examples every time.
hypothesis.settings.register_profile("local", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "local")


MAPS, PAGES = Path("/proc/self/maps"), Path("/proc/self/statm")
MOST_MAPS = 20_000
"""Linux lets a process have 65,530 memory maps. Every program takes some, and one too many kills the compiler."""
MOST_BYTES = 4e9
"""Of memory of one process of the tests, of which there are several."""


@pytest.fixture(autouse=True, scope="module")
def few_programs() -> Iterator[None]:
    """Lets go of what was compiled before there is too much of it."""
    yield
    if MAPS.exists() and MAPS.read_bytes().count(b"\n") > MOST_MAPS:
        _let_go()


@pytest.fixture(autouse=True)
def little_memory() -> Iterator[None]:
    """The same within a file of many tests; not again before there is a quarter more than what remained."""
    yield
    if PAGES.exists() and _resident() > _allowed[-1]:
        _let_go()
        _allowed.append(max(MOST_BYTES, 1.25 * _resident()))


_allowed = [MOST_BYTES]


def _let_go() -> None:
    """Frees compiled programs, and gives their memory back where the C library can be asked to (glibc)."""
    jax.clear_caches()
    gc.collect()
    if hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)


def _resident() -> int:
    """Bytes of memory of this process."""
    return int(PAGES.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture
def real_data() -> Callable[[str], Path]:
    """Gives the path of a real data file by its name, from $PRIVSEC_DATA or ../shared/data; skips without it."""

    def find(name: str) -> Path:
        folders = [Path(__file__).parents[2] / "shared" / "data"]
        if "PRIVSEC_DATA" in os.environ:
            folders.insert(0, Path(os.environ["PRIVSEC_DATA"]))
        for folder in folders:
            if (folder / name).exists():
                return folder / name
        pytest.skip(f"{name} is in none of {', '.join(map(str, folders))}")

    return find
