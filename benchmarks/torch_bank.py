"""PyTorch's ways of training a bank of shadow models: a loop over them, in each of its settings, and `torch.func`."""

from __future__ import annotations

import functools
import importlib
import itertools
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from rounds import CORES
from setups import Setup, learning_rate

LOOP = "torch loop, best setting"
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
