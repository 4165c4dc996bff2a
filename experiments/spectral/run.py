"""How much of a backdoor's poison two scores of the same representations find, as Markdown.

python experiments/spectral/run.py [--data ../shared/data]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from scipy.stats import sem, t

from privsec.attacks.poisoning.badnets import patched
from privsec.core import keys
from privsec.core.data import Examples
from privsec.core.defense import Cleaned
from privsec.core.target import Target
from privsec.data.gtsrb import GTSRB
from privsec.data.mnist import MNIST
from privsec.defenses.data.spectral_signatures import spectral_scores
from privsec.defenses.data.spectre import spectre_scores
from privsec.measures.poisoning import detected
from privsec.nets.base import model_of
from privsec.nets.cnn import CNN
from privsec.ops.representation import represented
from privsec.training import loop
from privsec.training.standard import Training

SEEDS, RATES, SHARE = (3, 4, 5), (0.01, 0.02, 0.05), 0.4  # of all records are poison; of each class goes
SIGNS = {"classes": (13, 14, 12, 17, 1, 38, 33, 40)}  # of the story sign_backdoor
WORLDS = {
    "mnist": (MNIST, {}, 2000, CNN(), 50, 20, 3, 0),
    "gtsrb32": (GTSRB, SIGNS, 500, CNN(channels=(16, 32, 32)), 25, 25, 5, 4),
}
"""Data, which of them, records trained on, net, batch, epochs, the patch's size, the goal."""


def measured(name: str, folder: Path, rate: float, seed: int) -> list[float]:
    """Of each score: the poison found at 5% false alarms over all classes, and the poison left out."""
    source, which, count, net, batch, epochs, patch, goal = WORLDS[name]
    data = source(path=str(folder / f"{name}.npz"), **which).load()
    drawn = data.examples(np.random.default_rng(seed).permutation(data.size)[:count])
    training = Training(optimizer="adam", learning_rate=2e-3, schedule="cosine", batch_size=batch, epochs=epochs)
    x, y = np.array(drawn.x), np.array(drawn.y)
    rows = np.flatnonzero(y != goal)[: round(rate * count)]
    x[rows] = patched(jnp.asarray(x[rows]), patch, "bottom_right", (jnp.float32(0), jnp.float32(1)))
    y[rows], poison = goal, np.isin(np.arange(count), rows)
    model, given = model_of(net, x.shape[1:], int(y.max()) + 1), Examples(jnp.asarray(x), jnp.asarray(y))
    params = loop.train(model, training.recipe(count), given, np.ones(count, bool), keys.root(seed)).params
    seen, found = represented(Target.of(model, params), x), []
    for scores in (spectral_scores(seen, y), spectre_scores(seen, y, SHARE)):
        kept = Cleaned.without(given, scores, SHARE, by_class=True).kept
        found += [detected(scores[poison], scores[~poison]), float(np.mean(~kept[poison]))]
    return found


def shown(values: np.ndarray) -> str:
    """The mean over seeds and its 95% interval by Student's t."""
    wide = t.ppf(0.975, len(values) - 1) * sem(values)
    return f"{np.mean(values):.2f} [{max(np.mean(values) - wide, 0):.2f}, {min(np.mean(values) + wide, 1):.2f}]"


def main() -> None:
    """Trains a model for each data set, rate and seed and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="the folder of both files")
    given = parser.parse_args()
    print("| data | poison | found: spectral | left out | found: spectre | left out |\n| --- " + "| :---: " * 5 + "|")
    for name in WORLDS:
        for rate in RATES:
            values = np.array([measured(name, given.data, rate, seed) for seed in SEEDS])
            print(f"| {name} | {rate:.0%} | {' | '.join(map(shown, values.T))} |", flush=True)


if __name__ == "__main__":
    main()
