"""How long a bank of shadow models takes to train: ours, and PyTorch's loops and ensembles, on the same shapes.

python benchmarks/shadow_bank.py [--net both] [--models 64] [--rounds 3] [--threads 2]

64 MLPs on Location-30's shapes, by SGD with momentum and by Adam; 16 CNNs on MNIST's shapes, by SGD. Every tool has a
process of its own; PyTorch's loop is timed as it comes and at the best of its settings (threads, fused optimizer,
torch.compile, channels-last), which it finds first.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import itertools
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, NamedTuple

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
from setups import CNN, MLP, Setup, learning_rate, options

CLAIM = "64 MLPs train at least 3.5 times as fast as one after the other in a tight PyTorch loop"
OURS, LOOP = "privsec", "torch loop, best setting"
ENSEMBLE = {"mlp": 16, "cnn": 4}
"""Models that torch.func trains at once, of those tried the fastest."""


class Work(NamedTuple):
    """What is to be trained."""

    setup: Setup
    optimizer: str
    models: int
    epochs: int


class Setting(NamedTuple):
    """Of a PyTorch loop."""

    threads: int = CORES
    fused: bool = False
    compiled: bool = False
    channels_last: bool = False

    def __str__(self) -> str:
        named = [name for name in ("fused", "compiled", "channels_last") if getattr(self, name)]
        return ", ".join([f"threads {self.threads}", *named])


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


class _Torch:
    """PyTorch's ways of training them."""

    def __init__(self, work: Work, cuda: bool) -> None:
        self.torch: Any = importlib.import_module("torch")
        self.work, self.device = work, "cuda" if cuda and self.torch.cuda.is_available() else "cpu"
        x, y = work.setup.records_of()
        x = x.transpose(0, 3, 1, 2).copy() if work.setup.channels else x
        self.x, self.y = (self.torch.tensor(array).to(self.device) for array in (x, y.astype("int64")))
        self.members = [self.torch.tensor(row.nonzero()[0]).to(self.device) for row in work.setup.members(work.models)]
        self.compiled: dict[Setting, Any] = {}

    def optimizer(self, parameters: Any, fused: bool) -> Any:
        """SGD with momentum, or Adam."""
        more = {"fused": True} if fused else {}
        rate = learning_rate(self.work.optimizer)
        if self.work.optimizer == "adam":
            return self.torch.optim.Adam(parameters, lr=rate, **more)
        return self.torch.optim.SGD(parameters, lr=rate, momentum=0.9, **more)

    def loop(self, setting: Setting, models: int, loader: bool = False) -> None:
        """One model after the other; batches are rows of tensors in memory, or those of a DataLoader."""
        torch, setup = self.torch, self.work.setup
        torch.set_num_threads(setting.threads)
        x, net = self.x, setup.twin().to(self.device)
        if setting.channels_last:
            x, net = x.to(memory_format=torch.channels_last), net.to(memory_format=torch.channels_last)
        if setting.compiled:  # compiled once, as ours is
            net = self.compiled.setdefault(setting, torch.compile(net))
        for rows in self.members[:models]:
            for part in net.modules():
                if hasattr(part, "reset_parameters"):
                    part.reset_parameters()
            optimizer = self.optimizer(net.parameters(), setting.fused)
            for _ in range(self.work.epochs):
                for records, labels in self.batches(x, rows, loader):
                    optimizer.zero_grad(set_to_none=True)
                    torch.nn.functional.cross_entropy(net(records), labels).backward()
                    optimizer.step()
        next(net.parameters()).detach().cpu()  # waits for a GPU

    def batches(self, x: Any, rows: Any, loader: bool) -> Any:
        """One epoch."""
        if loader:
            data = self.torch.utils.data
            known = data.TensorDataset(x[rows], self.y[rows])
            yield from data.DataLoader(known, batch_size=self.work.setup.batch, shuffle=True)
            return
        order = rows[self.torch.randperm(len(rows), device=self.device)]
        for index in order.split(self.work.setup.batch):
            yield x[index], self.y[index]

    def ensemble(self, threads: int, models: int) -> None:
        """`torch.func`: gradients of so many models at once, by vmap over stacked parameters."""
        torch, func, setup = self.torch, self.torch.func, self.work.setup
        torch.set_num_threads(threads)
        base = setup.twin().to("meta")

        def loss(parameters: Any, buffers: Any, x: Any, y: Any) -> Any:
            return torch.nn.functional.cross_entropy(func.functional_call(base, (parameters, buffers), (x,)), y)

        gradients_of = func.vmap(func.grad(loss))
        for start in range(0, models, ENSEMBLE[setup.name]):
            members = torch.stack(self.members[start : start + ENSEMBLE[setup.name]])
            nets = [setup.twin().to(self.device) for _ in members]
            parameters, buffers = func.stack_module_state(nets)
            optimizer = self.optimizer(list(parameters.values()), fused=True)
            for _ in range(self.work.epochs):
                order = members.gather(1, torch.rand(members.shape, device=self.device).argsort(1))
                for index in order.split(setup.batch, dim=1):
                    own = {name: leaf.detach() for name, leaf in parameters.items()}
                    for name, gradient in gradients_of(own, buffers, self.x[index], self.y[index]).items():
                        parameters[name].grad = gradient
                    optimizer.step()
            next(iter(parameters.values())).detach().cpu()

    def best(self, threads: int) -> tuple[Setting, float]:
        """The fastest setting for a model, compiled where that is faster, and the seconds its compilation took."""
        found: dict[Setting, float] = {}
        layouts = (False, True) if self.work.setup.channels else (False,)
        for count, fused, last in itertools.product(sorted({1, threads}), (False, True), layouts):
            setting = Setting(count, fused, channels_last=last)
            found[setting] = statistics.median(self.seconds(setting)[1:])
        eager = min(found, key=found.__getitem__)
        setting = eager._replace(compiled=True)
        try:
            first, *later = self.seconds(setting)
        except Exception as failed:  # torch.compile wants a C++ compiler, which a machine may lack
            print(f"torch.compile: {type(failed).__name__}")
            return eager, 0.0
        warm = statistics.median(later)
        return (setting, first - warm) if warm < found[eager] else (eager, 0.0)

    def seconds(self, setting: Setting) -> list[float]:
        """Of a model, so often that one lucky time does not choose a setting."""
        found = []
        for _ in range(8):
            start = time.perf_counter()
            self.loop(setting, 1)
            found.append(time.perf_counter() - start)
        return found


def torch_loops(work: Work, threads: int, looped: int, cuda: bool) -> dict[str, Callable[[], Any]]:
    """PyTorch's loops on `looped` of the models, and its ensembles."""
    side = _Torch(work, cuda)
    best, compiling = side.best(threads)
    last = Setting(threads, channels_last=True)
    runs: dict[str, Callable[[], Any]] = {
        "torch loop, default": functools.partial(side.loop, Setting(threads), looped),
        LOOP: functools.partial(side.loop, best, looped),
        "torch DataLoader loop": functools.partial(side.loop, Setting(threads), max(1, looped // 4), loader=True),
        "torch.func ensemble": functools.partial(side.ensemble, threads, max(looped, ENSEMBLE[work.setup.name])),
        "about": lambda: {"best": best, "compiling": compiling},
    }
    if work.setup.channels:
        runs["torch loop, channels-last"] = functools.partial(side.loop, last, looped)
    for name, run in runs.items():
        if name not in ("about", LOOP):
            run()
    return runs


def torch_on_a_core(work: Work, setting: Setting, models: int) -> dict[str, Callable[[], Any]]:
    """The loop on one thread, of which there will be a process for each core."""
    side = _Torch(work, cuda=False)
    run = functools.partial(side.loop, setting._replace(threads=1), models)
    run()
    return {"loop": run}


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
    name = next(iter(costs))
    against = f"{versions('torch').split(', ')[-2]}, {' '.join(name)}, in-memory loop at its best setting"
    headline(CLAIM, against, costs[name].get(LOOP, []), costs[name][OURS])


if __name__ == "__main__":
    main()
