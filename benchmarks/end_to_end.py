"""The quickstart's whole table, from the start of a process to its end: ours, and PyTorch, Opacus and ART.

python benchmarks/end_to_end.py [--seeds 1] [--models 16] [--boundary 16] [--rounds 2] [--threads N]

Ours is `privsec run` in a new process and a new folder: imports, data, training, attacks, measures with intervals, what
judges reconstructions, table and HTML report. It runs once with an empty compilation cache, then with a warm one.

Theirs is `torch_table.py` in a new process: the same records, halves, network, optimizer, epochs and batch;
models trained one after the other from a DataLoader, by Opacus where private (the noise calibrated once by its own
accountant); answers rounded by ART's postprocessor, or cut to labels; ART's rule, label-only boundary (HopSkipJump,
about as many queries, from wrongly labeled records too) and MIFace (as many steps, all classes in a batch); loss,
modified entropy, Attack R, LiRA and RMIA in NumPy for each target, RMIA by the matrix of ratios. AUC and TPR by
scikit-learn, a pandas table. One process; torch runs on the number of threads that a probe finds faster.

What theirs leaves out, which favors them: intervals, nulls and the blind baseline, evaluators and judgment of
reconstructions, RMIA's choice of a temperature, total variation in MIFace, report and provenance; and what output
defenses do not change (MIFace; the boundary under label_only) is computed once.

Both sides are reduced alike, so that it ends within five minutes: the first seed, and the boundary attack on 16
candidates of 256, as ART's walks are most of the other side's time. Told as well: both without ART's loops (boundary,
MIFace), and what all 256 would take there, counted up from the seconds of those walked.
"""

from __future__ import annotations

import argparse
import functools
import importlib.metadata
import importlib.util
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from rounds import CORES, Cost, absent, fresh, headline, in_turns, machine, ratios, table, versions

CLAIM = "the quickstart's whole table takes at most a fifth of the time of PyTorch, Opacus and ART (warm cache)"
PEERS = ("torch", "opacus", "adversarial-robustness-toolbox", "scikit-learn")
HERE = Path(__file__).parent
OURS, THEIRS = "privsec, warm cache", "PyTorch, Opacus, ART"
ART = ("boundary", "mi_face")
"""Attacks whose loops in ART are most of the other side's time; both sides run once without them too."""


def prepared(folder: Path, seeds: int, models: int, candidates: int) -> tuple[dict[str, Any], int]:
    """Writes the configs and each seed's records; returns the one that is timed, and how many `whole.yaml` walks from.

    `config.yaml` is the one that is timed, `whole.yaml` has its boundary attack as the quickstart has it, `bare.yaml`
    has neither that nor MIFace.
    """
    from privsec.runner.config import load
    from privsec.runner.world import World

    config = yaml.safe_load((HERE.parent / "configs" / "quickstart.yaml").read_text())
    config["seeds"], config["population"]["models"] = config["seeds"][:seeds], models
    (folder / "whole.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    experiment = load(config)
    dataset = experiment.data.load()
    for seed in experiment.seeds:
        world = World.of(experiment, dataset, seed)
        rows = {part: getattr(world.splits, part) for part in ("candidates", "population", "holdout", "include")}
        np.savez(folder / f"{seed}.npz", x=world.dataset.x, y=world.dataset.y, **rows)
    walk = next(attack for attack in config["attacks"] if attack["name"] == "boundary")
    whole = next(getattr(attack, "records", 0) for attack in experiment.attacks if attack.title == "boundary")
    walk["records"] = min(candidates, whole)
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    rest = [attack for attack in config["attacks"] if attack["name"] not in ART]
    (folder / "bare.yaml").write_text(yaml.safe_dump({**config, "attacks": rest}, sort_keys=False))
    return config, whole


def ours(folder: Path, config: str) -> Cost:
    """`privsec run` into a new folder; the answer is that folder."""
    out = Path(tempfile.mkdtemp(dir=folder))
    command = [sys.executable, "-m", "privsec", "run", str(folder / config), "--out", str(out)]
    cache = {"JAX_COMPILATION_CACHE_DIR": str(folder / "xla"), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.2"}
    return fresh(command, **cache)._replace(answer=out)


def theirs(folder: Path, config: str, threads: int, *more: str) -> Cost:
    """`torch_table.py`; the answer is its last line."""
    command = [sys.executable, str(HERE / "torch_table.py"), str(folder / config), str(folder)]
    found = fresh([*command, "--threads", str(threads), *more], OMP_NUM_THREADS=str(threads))
    return found._replace(answer=json.loads(found.answer.splitlines()[-1]))


def values(out: Path) -> dict[str, float]:
    """Of a run of ours, what the other side prints: defense/attack -> AUC, test accuracy, or MIFace's confidence."""
    import pandas as pd

    (path,) = out.glob("*/table.csv")
    rows = pd.read_csv(path, dtype={"seed": str})
    rows = rows[(rows["seed"] == "all") & rows["measure"].isin(["auc", "test_accuracy", "target_confidence"])]
    names = rows["attack"].fillna("test accuracy")
    return dict(zip(rows["defense"] + "/" + names, rows["value"], strict=True))


def beside(own: dict[str, float], other: dict[str, float], defenses: list[str]) -> str:
    """Both sides' figures, ours first."""
    attacks = list(dict.fromkeys(name.partition("/")[2] for name in other))
    lines = [f"{'':18}" + "".join(f"{name:>14}" for name in defenses)]
    for attack in attacks:
        cells = [f"{defense}/{attack}" for defense in defenses]
        shown = [f"{own[cell]:.2f} / {other[cell]:.2f}" if {cell} <= {*own} & {*other} else "-" for cell in cells]
        lines.append(f"{attack:18}" + "".join(f"{text:>14}" for text in shown))
    return "\n".join(lines)


def missing() -> ImportError | None:
    """What the other side cannot import."""
    names = [name for name in ("torch", "opacus", "art") if importlib.util.find_spec(name) is None]
    return ImportError(", ".join(names)) if names else None


def main() -> None:
    """Prints both tables and both sides' seconds, then one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=1, help="how many of the quickstart's three")
    parser.add_argument("--models", type=int, default=16, help="in a population: even, 6 or more")
    parser.add_argument("--boundary", type=int, default=16, help="candidates attacked there, 12 or more")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, help="of PyTorch; by default the faster of 1 and all cores")
    given = parser.parse_args()
    print(machine(), versions(*PEERS), sep="\n")
    with tempfile.TemporaryDirectory() as name:
        compared(Path(name), given)


def compared(folder: Path, given: argparse.Namespace) -> None:
    """All of it, in a folder of its own."""
    config, whole = prepared(folder, given.seeds, given.models, given.boundary)
    sizes = f"{len(config['seeds'])} of 3 seeds, {given.models} of 16 models, boundary on {given.boundary} of {whole}"
    print(sizes, flush=True)
    cold = ours(folder, "config.yaml")
    print(told("privsec, empty cache", cold), flush=True)
    runs, threads = {OURS: functools.partial(ours, folder, "config.yaml")}, 0
    if error := missing():
        absent(error)
    else:
        threads = given.threads or faster(folder)
        runs[THEIRS] = functools.partial(theirs, folder, "config.yaml", threads)
    costs = in_turns(runs, given.rounds)
    print(table(costs, ours=OURS), flush=True)
    against = "torch, opacus or art: not installed"
    if THEIRS in costs:
        against = f"{', '.join(f'{name} {importlib.metadata.version(name)}' for name in PEERS)}, threads {threads}"
        judged(config, costs, cold)
        apart(folder, costs[THEIRS], whole / given.boundary, threads)
    headline(CLAIM, against, costs.get(THEIRS, []), costs[OURS])


def judged(config: dict[str, Any], costs: dict[str, list[Cost]], cold: Cost) -> None:
    """Prints what both sides found, theirs by stage, and the ratio to ours with an empty cache."""
    last = costs[THEIRS][-1].answer
    print("\nAUC over targets (mi_face: what the model says of its reconstructions), ours / theirs")
    print(beside(values(costs[OURS][-1].answer), last["values"], list(config["defenses"])))
    print("\ntheirs by stage, s:", ", ".join(f"{name} {spent:.1f}" for name, spent in last["seconds"].items()))
    print("against ours with an empty cache:", json.dumps(ratios(costs[THEIRS], [cold] * len(costs[THEIRS]))))


def apart(folder: Path, other: list[Cost], times: float, threads: int) -> None:
    """Prints, of one run each, the ratio without ART's loops, and with the boundary attack on `times` as many."""
    bare, rest = ours(folder, "bare.yaml"), theirs(folder, "bare.yaml", threads)
    print(f"without {' and '.join(ART)}", told("privsec", bare), told("theirs", rest), sep="; ", end="; ")
    print(f"{rest.seconds / bare.seconds:.3g} times ours", flush=True)
    ours(folder, "whole.yaml")  # compiles for its shapes
    whole = ours(folder, "whole.yaml")
    counted = statistics.median(cost.seconds + (times - 1) * cost.answer["seconds"]["boundary"] for cost in other)
    print(
        "the whole boundary attack", told("privsec", whole), f"theirs {counted:.0f} s, counted up", sep="; ", end="; "
    )
    print(f"{counted / whole.seconds:.3g} times ours")


def told(name: str, cost: Cost) -> str:
    """Its seconds."""
    return f"{name} {cost.seconds:.1f} s ({cost.processor:.1f} of a core)"


def faster(folder: Path) -> int:
    """The number of threads with which a few steps of theirs take less time."""
    found = {count: theirs(folder, "config.yaml", count, "--probe").answer for count in sorted({1, CORES})}
    print("a few steps of theirs:", ", ".join(f"threads {count} {spent:.1f} s" for count, spent in found.items()))
    return min(found, key=found.__getitem__)


if __name__ == "__main__":
    main()
