"""A stack of models, put together one by one; a large one waits in a file, and only what is in use is in memory."""

from __future__ import annotations

import mmap
import tempfile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

IN_MEMORY = 2**28
"""Bytes up to which a stack is held in memory."""


class Stack:
    """M pytrees of one structure as one whose leaves have a leading [M].

    A stack of more than `IN_MEMORY` bytes goes to a file without a name, which the system removes with the last of its
    leaves: read-only NumPy arrays, mapped into memory, whose pages are read when a model is used and given back when
    memory is short. The numbers are the same.
    """

    def __init__(self, count: int, folder: Path | None = None) -> None:
        """Begins an empty stack.

        Args:
            count: M.
            folder: where the file would be; the system's folder for such files where None.
        """
        self.count, self._folder = count, folder
        self._tree: Any = None
        self._leaves: list[np.ndarray] = []

    def put(self, m: int, one: Any) -> None:
        """Takes in the m-th pytree; its arrays are copied.

        Raises:
            ValueError: it is not of the others' structure and shapes.
        """
        leaves, tree = jax.tree.flatten(jax.device_get(one))
        leaves = [np.asarray(leaf) for leaf in leaves]
        if self._tree is None:
            self._tree, self._leaves = tree, self._made(leaves)
        if tree != self._tree:
            raise ValueError(f"model {m} has another structure than those before it")
        for leaf, mine in zip(leaves, self._leaves, strict=True):
            mine[m : m + 1] = leaf[None]
        for leaf in self._leaves:
            _let_go(leaf)

    @property
    def whole(self) -> Any:
        """The stacked pytree, once every m was put in; nothing may be put in any more."""
        return jax.tree.unflatten(self._tree, [_read_only(leaf) for leaf in self._leaves])

    def _made(self, leaves: list[np.ndarray]) -> list[np.ndarray]:
        shapes = [(self.count, *leaf.shape) for leaf in leaves]
        if self.count * sum(leaf.nbytes for leaf in leaves) <= IN_MEMORY:
            return [np.empty(shape, leaf.dtype) for shape, leaf in zip(shapes, leaves, strict=True)]
        made = []
        for shape, leaf in zip(shapes, leaves, strict=True):
            with tempfile.TemporaryFile(dir=self._folder) as file:
                made.append(
                    np.memmap(file, leaf.dtype, "w+", shape=shape) if leaf.size else np.empty(shape, leaf.dtype)
                )
        return made


def stack(each: list[Any]) -> Any:
    """M pytrees as one pytree whose leaves have a leading [M]."""
    made = Stack(len(each))
    for m, one in enumerate(each):
        made.put(m, one)
    return made.whole


def _read_only(leaf: np.ndarray) -> jax.Array | np.ndarray:
    if not isinstance(leaf, np.memmap):
        return jnp.asarray(leaf)
    leaf.flags.writeable = False
    return leaf


def _let_go(leaf: np.ndarray) -> None:
    """Gives the pages of what is mapped back to the system, which keeps them in the file, where it can be told so."""
    if isinstance(leaf, np.memmap) and hasattr(mmap, "MADV_DONTNEED"):
        leaf._mmap.madvise(mmap.MADV_DONTNEED)  # type: ignore[attr-defined]
