"""How long a bank of shadow models takes to train: ours, and PyTorch's loops and ensembles, on the same shapes.

python benchmarks/shadow_bank.py [--net both] [--models 64] [--rounds 3] [--threads 2]

64 MLPs on Location-30's shapes, by SGD with momentum and by Adam; 16 CNNs on MNIST's shapes, by SGD. Every tool has a
process of its own; PyTorch's loop is timed as it comes and at the best of its settings (threads, fused optimizer,
torch.compile, channels-last), which it finds first.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from rounds import (
    CORES,
    Cost,
    Elsewhere,
    absent,
    headline,
    in_turns,
    machine,
    peak,
    per,
    ratios,
    table,
    together,
    versions,
)
from setups import CNN, MLP, learning_rate, options
from torch_bank import ENSEMBLE, LOOP, Work, torch_loops, torch_on_a_core

CLAIM = {
    "mlp": "64 MLPs train at least 3.5 times as fast as one after the other in a tight PyTorch loop",
    "cnn": "16 CNNs train at least 1.5 times as fast as one after the other in a tight PyTorch loop",
}
OURS = "privsec"


def ours(work: Work) -> dict[str, Callable[[], Any]]:
    """`train_many`, and one model alone; compiled here."""
    import jax

    from privsec.core.data import Examples
    from privsec.training.loop import train
    from privsec.training.many import train_many
    from privsec.training.standard import Training

    setup, model = work.setup, work.setup.model()
    kind: Any = work.optimizer
    training = Training(optimizer=kind, learning_rate=learning_rate(kind), batch_size=setup.batch, epochs=work.epochs)
    recipe, include = training.recipe(setup.records), setup.members(work.models)
    data = Examples(*map(jax.numpy.asarray, setup.records_of()))

    def bank(models: range = range(work.models)) -> None:
        for _ in train_many(model, recipe, data, include, jax.random.key(0), models=models):
            pass

    def alone() -> None:
        jax.block_until_ready(train(model, recipe, data, include[0], jax.random.key(0)))

    start = time.perf_counter()
    bank(range(1))
    compiling = time.perf_counter() - start
    alone()
    bank(range(2))
    about = {"backend": jax.default_backend(), "compiling": compiling}
    return {OURS: bank, "one model": alone, "about": lambda: about}


def compared(work: Work, given: argparse.Namespace) -> dict[str, list[Cost]]:
    """Runs everything in turns and prints the table; costs of one model."""
    setup, looped = work.setup, min(work.models, given.looped)
    print(f"\n{work.models} x {setup.name}, {work.optimizer}: {setup.records} records, batch {setup.batch}, ", end="")
    print(f"{work.epochs} epochs; ms of a model")
    each = {OURS: work.models, "one model": 1}
    with ExitStack() as stack:
        own = stack.enter_context(Elsewhere(ours, work))
        about = own.run("about")().answer
        runs = {name: own.run(name) for name in own.names if name != "about"}
        compiling = {OURS: about["compiling"]}
        try:
            cuda = about["backend"] == "gpu"
            side = stack.enter_context(Elsewhere(torch_loops, work, given.threads, looped, cuda))
            tuned = side.run("about")().answer
            runs |= {name: side.run(name) for name in side.names if name != "about"}
            for name in side.names:
                each[name] = looped
            each["torch DataLoader loop"] = max(1, looped // 4)
            each["torch.func ensemble"] = max(looped, ENSEMBLE[setup.name])
            compiling[LOOP] = tuned["compiling"]
            print(f"best setting of the loop: {tuned['best']}")
            if not cuda and CORES > 1:
                cores = [
                    stack.enter_context(Elsewhere(torch_on_a_core, work, tuned["best"], max(1, looped // CORES)))
                    for _ in range(CORES)
                ]
                name = "torch loop, a process a core"
                runs[name] = functools.partial(together, [core.run("loop") for core in cores])
                each[name] = CORES * max(1, looped // CORES)
        except ImportError as missing:
            absent(missing)
        costs = in_turns(runs, given.rounds)
    print(table(costs, ours=OURS, each=each))
    costs = per(costs, each)
    reached(work, costs[OURS])
    if LOOP in costs:
        cold = {
            name: [cost._replace(seconds=cost.seconds + compiling[name] / work.models) for cost in costs[name]]
            for name in (OURS, LOOP)
        }
        said = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in compiling.items())
        print(f"compilation: {said}; {ratios(cold[LOOP], cold[OURS])['ratio']} times ours with it")
    return costs


def reached(work: Work, own: list[Cost]) -> None:
    """Prints which part of the machine's measured peak the arithmetic of training comes to."""
    setup = work.setup
    flops = setup.flops * setup.records * work.epochs
    seconds, processor = (statistics.median(getattr(cost, clock) for cost in own) for clock in ("seconds", "processor"))
    print(
        f"{flops / seconds / 1e9:.0f} GFLOP/s, {flops / seconds / peak(CORES):.0%} of the machine's peak; "
        f"{flops / processor / 1e9:.0f} a core, {flops / processor / peak():.0%} of a core's"
    )


def main() -> None:
    """Prints a table for each bank, then one JSON line."""
    parser = options(__doc__, "in a bank; by default 64 MLPs, 16 CNNs")
    parser.add_argument("--looped", type=int, default=16, help="how many of them a loop trains: its time is linear")
    given = parser.parse_args()
    print(machine(), versions("flax", "optax", "torch"), sep="\n")
    print(f"peak of float32 products: {peak() / 1e9:.0f} GFLOP/s on a core, {peak(CORES) / 1e9:.0f} on {CORES}")
    wanted = [(MLP, "sgd", 64, 10), (MLP, "adam", 64, 10), (CNN, "sgd", 16, 1)]
    costs: dict[tuple[str, str], dict[str, list[Cost]]] = {}
    for setup, optimizer, models, epochs in wanted:
        if given.net in (setup.name, "both"):
            work = Work(setup, optimizer, given.models or models, given.epochs or epochs)
            costs[setup.name, optimizer] = compared(work, given)
    net, optimizer = next(iter(costs))
    against = f"{versions('torch').split(', ')[-2]}, {net} {optimizer}, in-memory loop at its best setting"
    headline(CLAIM[net], against, costs[net, optimizer].get(LOOP, []), costs[net, optimizer][OURS])


if __name__ == "__main__":
    main()
