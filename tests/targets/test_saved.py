from __future__ import annotations

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from privsec.core.errors import AccessError, ConfigError, DataError
from privsec.core.target import Target
from privsec.nets.base import model_of
from privsec.nets.mlp import MLP
from privsec.targets import from_folder, save

NET = MLP(hidden=(4,), activation="tanh")
MODEL = model_of(NET, (5,), 3)


def target(models: int | None = None) -> Target:
    keys = jax.random.key(0) if models is None else jax.random.split(jax.random.key(0), models)
    return Target.of(MODEL, MODEL.init(keys) if models is None else jax.vmap(MODEL.init)(keys))


@pytest.mark.parametrize("models", [None, 1, 3])
def test_a_saved_model_answers_as_before(tmp_path, examples, models):
    folder = save(target(models), tmp_path / "deep" / "model", NET)
    assert sorted(path.name for path in folder.iterdir()) == ["model.json", "weights.safetensors"]
    again = from_folder(folder)
    assert again.model is MODEL and again.size == models
    np.testing.assert_array_equal(again.logits(examples.x), target(models).logits(examples.x))


def test_only_what_belongs_together_is_saved_and_nothing_is_overwritten(tmp_path):
    with pytest.raises(ConfigError, match=r"no sound model of the net .*dense/0/bias"):
        save(target(), tmp_path / "model", MLP(hidden=(8,)))
    with pytest.raises(AccessError):
        save(target().restrict(target().grants.LOGITS), tmp_path / "model", NET)
    diverged = Target.of(MODEL, jax.tree.map(lambda leaf: leaf * jnp.nan, target().params))
    with pytest.raises(ConfigError, match="not finite"):
        save(diverged, tmp_path / "model", NET)
    assert not any(tmp_path.iterdir())
    save(target(), tmp_path / "model", NET)
    with pytest.raises(ConfigError, match="exists"):
        save(target(), tmp_path / "model", NET)
    with pytest.raises(ConfigError, match="no folder can be made"):
        save(target(), tmp_path / "model" / "model.json" / "inside", NET)


def cut(name, share):
    def damage(folder):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: int(len(content) * share)])

    return damage


def change(**fields):
    def damage(folder):
        card = json.loads((folder / "model.json").read_text())
        (folder / "model.json").write_text(json.dumps({**card, **fields}))

    return damage


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut("weights.safetensors", 0.7), "not those that were written"),
        (cut("model.json", 0.5), "damaged"),
        (lambda folder: (folder / "weights.safetensors").unlink(), "No such file"),
        (lambda folder: (folder / "model.json").write_text("[]"), "damaged"),
        (change(net={"name": "mpl"}), "Did you mean 'mlp'"),
        (change(net={"name": "mlp", "hidden": [9]}), "dense/0/bias"),
        (change(models=2), "dense/0/bias"),
        (change(format="privsec model 2"), "format"),
        (change(colour="red"), "unknown key"),
    ],
)
def test_a_damaged_folder_is_told(tmp_path, damage, message):
    folder = save(target(), tmp_path / "model", NET)
    damage(folder)
    with pytest.raises(DataError, match=f"saved model is damaged(.|\n)*{message}|saved model is {message}"):
        from_folder(folder)


def test_a_folder_without_a_model_is_told(tmp_path):
    with pytest.raises(ConfigError, match=r"holds no model\.json"):
        from_folder(tmp_path)
    with pytest.raises(ConfigError, match="no such folder"):
        from_folder(tmp_path / "nowhere")
