"""The quickstart's table by PyTorch, Opacus, ART and NumPy, in the way their examples do it; `end_to_end.py` times it.

python benchmarks/torch_table.py CONFIG FOLDER [--threads 1] [--probe]

CONFIG is a quickstart of the same defenses and attacks, FOLDER has `SEED.npz` for each seed: the records, and who
trains on what. Without privsec. The last line is a JSON object: seconds by stage, and each cell's mean AUC.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import functools
import importlib
import itertools
import json
import logging
import time
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from torch_attacks import boundary, correctness, mi_face, scored

SPENT: dict[str, float] = collections.defaultdict(float)
"""Seconds by stage."""

torch: Any = None


@contextlib.contextmanager
def stage(name: str) -> Iterator[None]:
    """Adds the seconds of its block to the stage's."""
    start = time.perf_counter()
    yield
    SPENT[name] += time.perf_counter() - start


class Work:
    """One seed: what a config asks for, and the records.

    Attributes:
        member: bool [M, N], who trains on which candidate; models 2p and 2p + 1 on complementary halves.
        rows: the candidates that the boundary attack walks from.
    """

    def __init__(self, config: Mapping[str, Any], path: Path, boundary_rows: int) -> None:
        with np.load(path) as file:
            x, y = file["x"], file["y"].astype(np.int64)
            candidates, population, holdout = (file[part] for part in ("candidates", "population", "holdout"))
            self.member: np.ndarray = file["include"]
        self.training, self.hidden = config["training"], config["net"]["hidden"]
        self.x, self.y = x[candidates], y[candidates]
        self.population, self.holdout = (x[population], y[population]), (x[holdout], y[holdout])
        self.shape, self.classes = x.shape[1:], int(y.max()) + 1
        rows = np.random.permutation(len(self.x))[:boundary_rows]  # noqa: NPY002  (ART draws from the same)
        self.rows = np.sort(rows)

    def references(self, t: int) -> np.ndarray:
        """Every model but the target and its twin."""
        return np.flatnonzero(np.arange(len(self.member)) // 2 != t // 2)

    def net(self) -> Any:
        """A new network."""
        widths = [int(np.prod(self.shape)), *self.hidden]
        layers: list[Any] = [flattened()]
        for inputs, outputs in itertools.pairwise(widths):
            layers += [torch.nn.Linear(inputs, outputs), torch.nn.ReLU()]
        net = torch.nn.Sequential(*layers, torch.nn.Linear(widths[-1], self.classes))
        for layer in net:
            if isinstance(layer, torch.nn.Linear):  # begins as ours does: DP-SGD learns less from torch's own beginning
                deviation = layer.in_features**-0.5 / 0.8796  # what is cut at two deviations has 0.8796 of one
                torch.nn.init.trunc_normal_(layer.weight, std=deviation, a=-2 * deviation, b=2 * deviation)
                torch.nn.init.zeros_(layer.bias)
        return net

    def train(self, m: int, defense: Mapping[str, Any] | None, noise: float) -> Any:
        """One model, with a DataLoader: plain, by mixup, or by Opacus."""
        data, given = torch.utils.data, self.training
        rows = self.member[m]
        known = data.TensorDataset(torch.tensor(self.x[rows]), torch.tensor(self.y[rows]))
        batches = data.DataLoader(known, batch_size=given["batch_size"], shuffle=True)
        net = self.net()
        model, optimizer = net, torch.optim.Adam(net.parameters(), lr=given["learning_rate"])
        name = defense["name"] if defense else ""
        if defense and name == "dp_sgd":
            private = importlib.import_module("opacus").PrivacyEngine().make_private
            model, optimizer, batches = private(
                module=net,
                optimizer=optimizer,
                data_loader=batches,
                noise_multiplier=noise,
                max_grad_norm=defense["clip_norm"],
            )
        loss = torch.nn.CrossEntropyLoss()
        model.train()
        for _ in range(given["epochs"]):
            for x, y in batches:
                optimizer.zero_grad()
                if defense and name == "mixup":
                    w, partner = np.random.beta(defense["alpha"], defense["alpha"]), torch.randperm(len(x))  # noqa: NPY002
                    logits = model(w * x + (1 - w) * x[partner])
                    cost = w * loss(logits, y) + (1 - w) * loss(logits, y[partner])
                else:
                    cost = loss(model(x), y)
                cost.backward()
                optimizer.step()
        trained = self.net()  # without the hooks that Opacus leaves in a net
        trained.load_state_dict(net.state_dict())
        return trained.eval()

    def served(self, net: Any, defense: Mapping[str, Any] | None) -> Any:
        """ART's classifier, whose answers are probabilities after the output defense."""
        art = importlib.import_module("art.estimators.classification")
        last, after = torch.nn.Softmax(dim=1), None
        if defense and defense["name"] == "rounding":
            after = importlib.import_module("art.defences.postprocessor").Rounded(defense["decimals"])
        elif defense:  # ART's ClassLabels marks every label of the batch in all of its rows
            last = label()
        whole, loss, box = torch.nn.Sequential(net, last), torch.nn.CrossEntropyLoss(), (0.0, 1.0)
        return art.PyTorchClassifier(
            whole, loss, self.shape, self.classes, clip_values=box, device_type="cpu", postprocessing_defences=after
        )


def flattened() -> Any:
    """The layer that flattens records, of any float type: those of ART are float64 at times."""

    class Flat(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return x.flatten(1).float()

    return Flat()


def label() -> Any:
    """The layer that answers 1 for the label and 0 for the other classes."""

    class Label(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return torch.nn.functional.one_hot(x.argmax(1), x.shape[1]).float()

    return Label()


def noise_of(defense: Mapping[str, Any], batch: int, records: int, epochs: int) -> float:
    """The noise multiplier that Opacus' tightest accountant finds for the budget."""
    find = importlib.import_module("opacus.accountants.utils").get_noise_multiplier
    rate = batch / records
    steps = epochs * int(np.ceil(1 / rate))
    budget = {"target_epsilon": defense["epsilon"], "target_delta": defense["delta"]}
    return find(**budget, sample_rate=rate, steps=steps, accountant="prv")


def cells_of(work: Work, config: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Every cell's figures. What would come out the same is computed once: white-box, and a label's boundary."""
    metrics = importlib.import_module("sklearn.metrics")
    banks: dict[str, list[Any]] = {}
    white_box: dict[str, float] = {}
    walked: dict[str, np.ndarray] = {}
    (x_z, y_z), (x_h, y_h) = work.population, work.holdout
    for title, (defense, after) in ((title, _parts(given)) for title, given in config["defenses"].items()):
        bank = defense["name"] if defense else "plain"
        with stage(f"train {bank}"):
            if bank not in banks:
                noise = _noise(work, defense) if defense and bank == "dp_sgd" else 0.0
                banks[bank] = [work.train(m, defense, noise) for m in range(len(work.member))]
            bare = [work.served(net, None) for net in banks[bank]]
        with stage("answers"):
            served = [work.served(net, after) for net in banks[bank]] if after else bare
            p = np.array([model.predict(work.x) for model in served], np.float64)
            z = np.array([model.predict(x_z) for model in served], np.float64)[:, np.arange(len(y_z)), y_z]
            right = np.mean([np.mean(model.predict(x_h).argmax(1) == y_h) for model in served])
        yield {"defense": title, "attack": "test accuracy", "value": float(right)}
        labels_only = after is not None and after["name"] == "label_only"
        for attack in config["attacks"]:
            name, rows = attack["name"], slice(None)
            cell = {"defense": title, "attack": attack.get("label", name)}
            if name == "mi_face":
                with stage("mi_face"):
                    if bank not in white_box:
                        white_box[bank] = mi_face(work, bare[: attack["targets"]])
                yield {**cell, "value": white_box[bank]}
                continue
            if name == "correctness":
                with stage("correctness"):
                    scores = correctness(work, served)
            elif name == "boundary":
                rows, key = work.rows, bank if after is None or labels_only else title
                with stage("boundary"):
                    if key not in walked:
                        walked[key] = boundary(work, served)
                scores = walked[key]
            elif labels_only:
                continue
            else:
                with stage("scores"):
                    scores = scored(work, attack, p, z)
            with stage("curves"):
                curves = [metrics.roc_curve(m, s) for m, s in zip(work.member[:, rows], scores, strict=True)]
                areas = [metrics.auc(fpr, tpr) for fpr, tpr, _ in curves]
                at_1 = [tpr[fpr <= 0.01].max() for fpr, tpr, _ in curves]
            yield {**cell, "value": float(np.mean(areas)), "tpr_at_1pct_fpr": float(np.mean(at_1))}


def _parts(given: list[Mapping[str, Any]]) -> tuple[Any, Any]:
    """The defense of the training and that of the answers; raises ValueError for what is not done here."""
    found: list[Any] = [None, None]
    for defense in given:
        at = 0 if defense["name"] in ("dp_sgd", "mixup") else 1
        if found[at] or defense["name"] not in ("dp_sgd", "mixup", "rounding", "label_only"):
            raise ValueError(f"not done here: {defense}")
        found[at] = defense
    return found[0], found[1]


def _noise(work: Work, defense: Mapping[str, Any]) -> float:
    given = work.training
    return _calibrated(tuple(defense.items()), given["batch_size"], int(work.member[0].sum()), given["epochs"])


@functools.cache
def _calibrated(defense: tuple, batch: int, records: int, epochs: int) -> float:
    return noise_of(dict(defense), batch, records, epochs)


def main() -> None:
    """Prints the table and the JSON line; with --probe the seconds of a few of its steps."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--probe", action="store_true")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    global torch  # imported late: its time counts, and it may be absent
    with stage("imports"):
        torch = importlib.import_module("torch")
        for name in ("opacus", "art.attacks.inference.membership_inference", "sklearn.metrics", "pandas"):
            importlib.import_module(name)
    torch.set_num_threads(given.threads)
    config, cells = yaml.safe_load(given.config.read_text()), []
    walks = next((attack for attack in config["attacks"] if attack["name"] == "boundary"), {})
    for seed in config["seeds"]:
        np.random.seed(seed)  # noqa: NPY002  (what ART draws from)
        torch.manual_seed(seed)
        work = Work(config, given.folder / f"{seed}.npz", walks.get("records", 256))
        if given.probe:
            return probe(work)
        cells += cells_of(work, config)
    pandas = importlib.import_module("pandas")
    table = pandas.DataFrame(cells)
    found = table.groupby(["attack", "defense"], sort=False)["value"].mean().unstack("defense")
    print(found.round(3).to_string())
    print(json.dumps({"seconds": SPENT, "values": {f"{d}/{a}": v for (a, d), v in found.stack().items()}}))


def probe(work: Work) -> None:
    """Two models, two walks and an inversion of a few steps, timed: to choose the number of threads."""
    work.rows = work.rows[:2]
    start = time.perf_counter()
    served = [work.served(work.train(m, None, 0.0), None) for m in range(2)]
    mi_face(work, served[:1], steps=10)
    boundary(work, served[:1])
    print(json.dumps(time.perf_counter() - start))


if __name__ == "__main__":
    main()
