"""Trained models of the built-in nets as a folder: a card that says what they are, and their weights."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy
from pydantic import Field, PositiveInt

from privsec.core.errors import ConfigError, DataError
from privsec.core.recipe import Model, Params
from privsec.core.spec import Spec, SpecError
from privsec.core.target import Target
from privsec.nets import NETS
from privsec.nets.base import Net, model_of

CARD, WEIGHTS = "model.json", "weights.safetensors"


class Card(Spec):
    """What stands in `model.json`."""

    format: Literal["privsec model 1"] = "privsec model 1"
    """Which layout the folder has."""
    net: dict[str, Any]
    """The architecture, as in a config."""
    shape: tuple[PositiveInt, ...]
    """Shape of one record."""
    num_classes: int = Field(ge=2)
    """Number of classes."""
    models: PositiveInt | None = None
    """How many models the folder holds as a stack; null for one model."""
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    """Digest of the file of weights."""
    lineage: dict[str, Any] | None = None
    """What its run says of the records that it was trained on (`lineage.json`); null where nothing is known of them."""


def save(target: Target, folder: str | Path, net: Net, run: str | Path | None = None) -> Path:
    """Saves one model of a built-in net, or a stack, to a new folder that `from_folder` reads. Nothing is pickled.

    Args:
        target: grants its weights. Earlier checkpoints are not kept.
        folder: is made; must not exist.
        net: the architecture of the target's model.
        run: the folder of the run that trained it, whose lineage is copied into the card.

    Raises:
        AccessError: the target does not grant its weights, for instance behind output defenses.
        DataError: the run has no lineage that can be read.
        ConfigError: the folder exists or cannot be made, or the weights are not those of such a net.
    """
    folder, leaves, model = Path(folder), leaves_of(target.params), target.model
    card = {"net": net.to_json(), "shape": model.shape, "num_classes": model.num_classes, "models": target.size}
    if run is not None:
        card["lineage"] = _lineage(Path(run))
    try:
        params_from(model_of(net, model.shape, model.num_classes), leaves, target.size)
        _check_finite(leaves)
    except ValueError as error:
        raise ConfigError(f"this is no sound model of the net {net.to_json()}: {error}") from None
    if folder.exists():
        raise ConfigError(f"{folder} exists: choose another folder, nothing is overwritten")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as error:
        raise ConfigError(f"{folder}: no folder can be made there: {error.strerror}") from None
    try:
        safetensors.numpy.save_file(leaves, partial / WEIGHTS)
        written = Card(**card, sha256=_sha256(partial / WEIGHTS))
        (partial / CARD).write_text(json.dumps(written.to_json(), indent=1) + "\n", encoding="utf-8")
        partial.chmod(0o755)
        return partial.replace(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _lineage(run: Path) -> dict[str, Any]:
    try:
        return json.loads((run / "lineage.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{run}: name a finished run's folder: its lineage.json cannot be read ({error})") from None


def from_folder(folder: str | Path) -> Target:
    """The Target of a model that `save` wrote, bare and with all access; a stack where a stack was saved.

    Raises:
        ConfigError: there is no such folder, or it holds no model.
        DataError: it is damaged.
    """
    folder = Path(folder)
    card = card_of(folder)
    try:
        model = model_of(NETS.parse(card.net), card.shape, card.num_classes)
        leaves = safetensors.numpy.load_file(folder / WEIGHTS)
        params = params_from(model, leaves, card.models)
        _check_finite(leaves)
    except (SpecError, TypeError, ValueError, OSError, safetensors.SafetensorError) as error:
        raise _damaged(folder, error) from None
    return Target.of(model, jax.tree.map(jnp.asarray, params))


def card_of(folder: str | Path) -> Card:
    """The card of a saved model.

    Raises:
        ConfigError: there is no such folder, or it holds no model.
        DataError: the card cannot be read, or the weights are not those that it is of.
    """
    folder = Path(folder)
    if not (folder / CARD).is_file():
        hint = "no such folder" if not folder.is_dir() else f"it holds no {CARD}"
        raise ConfigError(f"{folder}: {hint}. Name a folder that privsec.targets.save wrote.")
    try:
        card = Card(**json.loads((folder / CARD).read_text(encoding="utf-8")))
        if _sha256(folder / WEIGHTS) != card.sha256:
            raise ValueError("the weights are not those that were written")
    except (SpecError, TypeError, ValueError, OSError) as error:
        raise _damaged(folder, error) from None
    return card


def _damaged(folder: Path, error: Exception) -> DataError:
    return DataError(f"{folder}: the saved model is damaged: {error}. Save it again, or restore a copy.")


def leaves_of(params: Params) -> dict[str, np.ndarray]:
    """The leaves of parameters by name, `"dense/0/kernel"`, as they stand in a safetensors file."""
    return {_leaf_name(path): np.asarray(leaf) for path, leaf in jax.tree.leaves_with_path(params)}


def params_from(model: Model, leaves: Mapping[str, np.ndarray], models: int | None = None) -> Params:
    """Parameters from leaves by name, each with a leading [models] for a stack.

    Raises:
        ValueError: they are not those of this model, or of so many.
    """
    lead = () if models is None else (models,)
    template = jax.eval_shape(model.init, jax.random.key(0))
    expected = {_leaf_name(path): (*lead, *leaf.shape) for path, leaf in jax.tree.leaves_with_path(template)}
    found = {name: leaf.shape for name, leaf in leaves.items()}
    if wrong := sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)):
        first = wrong[0]
        raise ValueError(f"{first} is {found.get(first, 'missing')}, in the net it is {expected.get(first, 'missing')}")
    return jax.tree.map_with_path(lambda path, _: leaves[_leaf_name(path)], template)


def _check_finite(leaves: Mapping[str, np.ndarray]) -> None:
    for name, leaf in leaves.items():
        if not np.isfinite(leaf).all():
            raise ValueError(f"{name} is not finite, the training diverged")


def _leaf_name(path: tuple) -> str:
    return "/".join(str(getattr(step, "key", getattr(step, "idx", step))) for step in path)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
