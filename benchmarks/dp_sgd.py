"""How long DP-SGD takes: ours alone and as a population, Opacus in each of its modes, jax_privacy, on the same shapes.

python benchmarks/dp_sgd.py [--net both] [--models 16] [--rounds 5] [--threads 2]

Batches of 256 (ours by Poisson sampling, as the accountant assumes; the others' of fixed size, in memory), clip norm 1,
noise multiplier 1, SGD with momentum. Every tool has a process of its own; Opacus' has glibc's allocator keep what it
freed, without which it is slower. Opacus is timed on one thread and on all, jax_privacy at the microbatch it is fastest
with.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, NamedTuple

from rounds import Cost, Elsewhere, absent, by_both, fastest, headline, in_turns, machine, per, table, versions
from setups import CNN, MLP, Setup, learning_rate, options

CLAIM = {
    "mlp": "a population of 16 MLPs trains by DP-SGD at least 5 times as fast as by Opacus' fastest mode",
    "cnn": "a population of 8 CNNs trains by DP-SGD at least twice as fast as by Opacus' fastest mode",
}
ALONE, POPULATION, FIXED, PLAIN = "privsec, one model", "privsec, population", "privsec, fixed batch", "not private"
MODES = ("ghost", "hooks", "functorch", "ew")
"""Opacus' ways to per-record gradients or their norms."""
KEPT = {"MALLOC_MMAP_THRESHOLD_": "4294967296", "MALLOC_TRIM_THRESHOLD_": "4294967296", "MALLOC_TOP_PAD_": "268435456"}
"""glibc: memory that was freed stays with the process."""


class Work(NamedTuple):
    """What is to be trained."""

    setup: Setup
    models: int
    epochs: int

    @property
    def steps(self) -> int:
        """Of one model."""
        return self.epochs * -(-self.setup.records // self.setup.batch)


def ours(work: Work) -> dict[str, Callable[[], Any]]:
    """One model, a population, the same on fixed batches, and without privacy; compiled here."""
    import jax

    from privsec.core.data import Examples
    from privsec.defenses.training.dp_sgd import DPSGD
    from privsec.training.loop import train
    from privsec.training.many import train_many
    from privsec.training.sampling import Cyclic
    from privsec.training.standard import Training

    setup, model, steps = work.setup, work.setup.model(), work.steps
    training = Training(optimizer="sgd", learning_rate=learning_rate("sgd"), batch_size=setup.batch, epochs=work.epochs)
    plain = replace(training.recipe(setup.records), sampling=Cyclic(steps, setup.batch))
    private = DPSGD(noise_multiplier=1.0, clip_norm=1.0).on_recipe(plain)
    include, data = setup.members(work.models), Examples(*map(jax.numpy.asarray, setup.records_of()))

    def one(recipe: Any) -> None:
        jax.block_until_ready(train(model, recipe, data, include[0], jax.random.key(0)))

    def population(models: range = range(work.models)) -> None:
        for _ in train_many(model, private, data, include, jax.random.key(0), models=models):
            pass

    start = time.perf_counter()
    one(private)
    compiling = time.perf_counter() - start
    runs = {
        ALONE: functools.partial(one, private),
        POPULATION: population,
        FIXED: functools.partial(one, replace(private, sampling=plain.sampling)),
        PLAIN: functools.partial(one, plain),
    }
    for run in runs.values():
        run()
    return {**runs, "about": lambda: {"backend": jax.default_backend(), "compiling": compiling}}


def jax_privacy(work: Work) -> dict[str, Callable[[], Any]]:
    """Its clipped gradient and noise in one compiled scan over steps, on our network."""
    import jax
    import jax.numpy as jnp
    import numpy as np
    import optax

    clipping, noise = (importlib.import_module(f"jax_privacy.{name}") for name in ("clipping", "noise_addition"))
    setup, model = work.setup, work.setup.model()
    x, y = map(jnp.asarray, setup.records_of())
    rng, steps = np.random.default_rng(2), work.steps
    batches = jnp.asarray(rng.integers(0, len(x), (steps, setup.batch)))

    def loss(params: Any, x: jax.Array, y: jax.Array) -> jax.Array:
        return jnp.mean(optax.losses.softmax_cross_entropy_with_integer_labels(model.apply(params, x), y))

    def training(microbatch: int) -> Callable[[], None]:
        clipped = clipping.clipped_grad(loss, l2_clip_norm=1.0, batch_argnums=(1, 2), microbatch_size=microbatch)

        @jax.jit
        def run(key: jax.Array) -> Any:
            params = model.init(key)
            optimizer = optax.chain(
                noise.gaussian_privatizer(stddev=1.0, prng_key=key),
                optax.scale(1 / setup.batch),
                optax.sgd(learning_rate("sgd"), momentum=0.9),
            )

            def step(state: Any, index: jax.Array) -> Any:
                params, held = state
                updates, held = optimizer.update(clipped(params, x[index], y[index]), held, params)
                return (optax.apply_updates(params, updates), held), None

            return jax.lax.scan(step, (params, optimizer.init(params)), batches)[0][0]

        return lambda: jax.block_until_ready(run(jax.random.key(0)))

    found, compiling = {}, {}
    for microbatch in (8, 16, 32):  # the whole batch, its default, is more than ten times slower
        run = training(microbatch)
        seconds = []
        for _ in range(3):
            start = time.perf_counter()
            run()
            seconds.append(time.perf_counter() - start)
        found[microbatch], compiling[microbatch] = (min(seconds[1:]), run), seconds[0] - min(seconds[1:])
    best = min(found, key=lambda microbatch: found[microbatch][0])
    about = {"compiling": compiling[best], "microbatch": best}
    return {"jax_privacy": found[best][1], "about": lambda: about}


def opacus(work: Work, threads: int, cuda: bool) -> dict[str, Callable[[], Any]]:
    """Its modes, each on one thread and on all; those that refuse the network say so."""
    torch, library = (importlib.import_module(name) for name in ("torch", "opacus"))
    setup = work.setup
    device = "cuda" if cuda and torch.cuda.is_available() else "cpu"
    x, y = setup.records_of()
    x = x.transpose(0, 3, 1, 2).copy() if setup.channels else x
    x, y = torch.tensor(x).to(device), torch.tensor(y.astype("int64")).to(device)

    def run(mode: str, threads: int, steps: int = work.steps) -> None:
        torch.set_num_threads(threads)
        net = setup.twin().to(device)
        optimizer = torch.optim.SGD(net.parameters(), lr=learning_rate("sgd"), momentum=0.9)
        data = torch.utils.data
        loader = data.DataLoader(data.TensorDataset(x[: setup.records], y[: setup.records]), setup.batch)
        loss: Any = torch.nn.CrossEntropyLoss()
        net, optimizer, *ghost, _ = library.PrivacyEngine().make_private(
            module=net,
            optimizer=optimizer,
            criterion=loss,
            data_loader=loader,
            noise_multiplier=1.0,
            max_grad_norm=1.0,
            poisson_sampling=False,
            grad_sample_mode=mode,
        )
        loss = ghost[0] if ghost else loss
        for _ in range(steps):
            index = torch.randint(len(x), (setup.batch,), device=device)
            optimizer.zero_grad(set_to_none=True)
            loss(net(x[index]), y[index]).backward()
            optimizer.step()
        next(net.parameters()).detach().cpu()

    runs = {}
    for mode in MODES:
        for count in sorted({1, threads}):
            try:
                run(mode, count, 2)
            except Exception as failed:
                print(f"Opacus, {mode}: {type(failed).__name__}: {str(failed).splitlines()[0]}")
                break
            runs[f"Opacus {mode}, threads {count}"] = functools.partial(run, mode, count)
    return runs


def compared(work: Work, given: argparse.Namespace) -> dict[str, list[Cost]]:
    """Runs everything in turns and prints the table; costs of one step of one model."""
    setup = work.setup
    print(
        f"\n{setup.name}, batch {setup.batch}, {work.steps} steps, population of {work.models}; ms of a step of a model"
    )
    with ExitStack() as stack:
        own = stack.enter_context(Elsewhere(ours, work))
        about = own.run("about")().answer
        print(f"privsec: compiled in {about['compiling']:.1f} s")
        runs = {name: own.run(name) for name in own.names if name != "about"}
        try:
            side = stack.enter_context(Elsewhere(opacus, work, given.threads, about["backend"] == "gpu", **KEPT))
            runs |= {name: side.run(name) for name in side.names}
        except ImportError as missing:
            absent(missing)
        try:
            side = stack.enter_context(Elsewhere(jax_privacy, work))
            found = side.run("about")().answer
            print(f"jax_privacy: microbatch {found['microbatch']}, compiled in {found['compiling']:.1f} s")
            runs["jax_privacy"] = side.run("jax_privacy")
        except ImportError as missing:
            absent(missing)
        costs = in_turns(runs, given.rounds)
    each = {name: work.steps * (work.models if name == POPULATION else 1) for name in costs}
    print(table(costs, ours=ALONE, each=each))
    costs = per(costs, each)
    for what, name, base in (("private against not", ALONE, PLAIN), ("Poisson against a fixed batch", ALONE, FIXED)):
        print(f"{what}: {by_both(costs[name], costs[base])}")
    best = fastest(costs, "Opacus")
    if best:
        for name in (ALONE, POPULATION):
            print(f"{best} against {name}: {by_both(costs[best], costs[name])}")
    return costs


def main() -> None:
    """Prints a table for each network, then one JSON line."""
    given = options(__doc__, "in the population; by default 16 MLPs, 8 CNNs").parse_args()
    print(machine(), versions("flax", "optax", "torch", "opacus", "jax_privacy"), sep="\n")
    costs = {}
    for setup, models, epochs in ((MLP, 16, 10), (CNN, 8, 1)):
        if given.net in (setup.name, "both"):
            larger = setup._replace(batch=256, records=2048)
            costs[setup.name] = compared(Work(larger, given.models or models, given.epochs or epochs), given)
    name = next(iter(costs))
    best = fastest(costs[name], "Opacus")
    against = f"{versions('opacus').split(', ')[-2]}, {name}, {best or 'not installed'}"
    headline(CLAIM[name], against, costs[name][best] if best else [], costs[name][POPULATION])


if __name__ == "__main__":
    main()
