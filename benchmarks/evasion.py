"""How long evasion attacks take on MNIST, and what they find: ours and those of Foolbox and ART, on the same weights.

python benchmarks/evasion.py [--data mnist.npz] [--net both] [--points 1000] [--looped 24] [--rounds 3] [--threads 2]

PGD, Square and HopSkipJump on digits that the network knows. Every tool has a process of its own; Foolbox, which has no
Square, and ART attack a PyTorch twin of the network, a CNN in torch's default layout and in channels-last. ART's
HopSkipJump is a loop over samples; it is timed on one thread and on all, and its fastest setting counts.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import itertools
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from rounds import CORES, Cost, Elsewhere, absent, by_both, fastest, headline, in_turns, machine, per, table, versions
from twin import channels_first, channels_last, twin

if TYPE_CHECKING:
    import privsec

CLAIM = "on an MLP, batched HopSkipJump takes at most a tenth of the time of a loop over samples"
OURS, LOOP, WALK = "privsec", "ART", "hop_skip_jump"
ATTACKS = ("pgd", "square", WALK)
RADIUS = 0.1
"""Of the linf ball; these undefended networks are not yet wholly lost in it."""
STEPS, PROPOSALS, QUERIES, WALKED = 40, 1000, 1000, 5
"""Of PGD; of Square; of our HopSkipJump, and the iterations in which theirs asks about as much."""
STEP = 2.5 * RADIUS / STEPS
BATCH = 64
"""Points that are attacked at once, as in ours."""
Attack = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""(images [B, C, H, W], labels [B], images of other classes, to start from) -> changed images."""


class Work(NamedTuple):
    """What is attacked: a network by its leaves, and N digits that it knows, with its logits [N, 10] for them."""

    net: str
    leaves: dict[str, np.ndarray]
    accuracy: float
    x: np.ndarray
    y: np.ndarray
    logits: np.ndarray


class Answer(NamedTuple):
    """What an attack returned: the changed images [N, H, W, C], and how many queries they took in all."""

    x: np.ndarray
    queries: float


def model_of(net: str) -> Any:
    """The network, not yet trained."""
    from privsec.nets import base, cnn, mlp

    return base.model_of(cnn.CNN() if net == "cnn" else mlp.MLP(hidden=(128,)), (28, 28, 1), 10)


def target_of(work: Work) -> privsec.Target:
    """The network as ours attacks it."""
    import privsec
    from privsec.targets.saved import params_from

    model = model_of(work.net)
    return privsec.Target.of(model, params_from(model, work.leaves))


def trained(path: str | None, net: str, records: int, points: int) -> dict[str, Callable[[], Work]]:
    """A network trained on so many digits, and the first test digits that it knows."""
    import jax

    import privsec
    from privsec.data.mnist import MNIST
    from privsec.targets.saved import leaves_of
    from privsec.training.loop import train
    from privsec.training.standard import Training

    data, model = MNIST(path=path).load(), model_of(net)
    fit, test = data.examples(np.arange(records)), data.examples(np.arange(60_000, 70_000))
    params = train(model, Training(epochs=5).recipe(records), fit, np.ones(records, bool), jax.random.key(0)).params
    target, x, y = privsec.Target.of(model, params), np.asarray(test.x), np.asarray(test.y)
    logits = np.concatenate([np.asarray(target.logits(part)) for part in np.split(x, 10)])
    right = logits.argmax(axis=1) == y
    known = np.flatnonzero(right)[:points]
    work = Work(net, leaves_of(params), float(right.mean()), x[known], y[known], logits[known])
    return {"work": lambda: work}


def seeded(run: Callable[[int], Answer]) -> Callable[[], Answer]:
    """The run with another seed each time."""
    seeds = itertools.count()
    return lambda: run(next(seeds))


def ours(work: Work, wanted: Sequence[str]) -> dict[str, Callable[[], Any]]:
    """Our attacks; compiled here."""
    import jax

    import privsec
    from privsec.attacks.evasion.hop_skip_jump import HopSkipJump
    from privsec.attacks.evasion.pgd import PGD
    from privsec.attacks.evasion.square import Square

    target, points = target_of(work), privsec.Examples(work.x, work.y)
    attacks = {
        "pgd": PGD(radius=RADIUS, steps=STEPS),
        "square": Square(radius=RADIUS, queries=PROPOSALS, rescale=True),  # as theirs
        WALK: HopSkipJump(queries=QUERIES),
    }

    def run(name: str, points: privsec.Examples, seed: int) -> Answer:
        knowledge = privsec.Knowledge(10, points=points, box=(np.float32(0), np.float32(1)))
        attack = attacks[name]
        found = attack.run(target.restrict(attack.needs), knowledge, jax.random.key(seed))
        return Answer(np.asarray(found.x[0]), float(np.sum(found.queries) + np.sum(found.gradients)))

    compiling = {}
    for name in wanted:
        start = time.perf_counter()
        run(name, points.take(np.arange(min(BATCH, points.size))), 0)
        compiling[name] = time.perf_counter() - start
    run("pgd", points, 0)  # what is set up for all points is compiled too
    runs = {f"{name}: {OURS}": seeded(functools.partial(run, name, points)) for name in wanted}
    return {**runs, "compiling": lambda: compiling}


def foolbox(module: Any) -> dict[str, Attack]:
    """Foolbox's attacks by name."""
    torch, library = (importlib.import_module(name) for name in ("torch", "foolbox"))
    model = library.PyTorchModel(module, bounds=(0, 1))

    def of(attack: Any, radius: float | None) -> Attack:
        def run(x: np.ndarray, y: np.ndarray, starts: np.ndarray) -> np.ndarray:
            changed = []
            for start in range(0, len(x), BATCH):
                part, labels, begun = (torch.tensor(all_[start : start + BATCH]) for all_ in (x, y, starts))
                given = {} if radius else {"starting_points": begun}
                changed.append(attack(model, part, labels, epsilons=radius, **given)[1].numpy())
            return np.concatenate(changed)

        return run

    return {
        "pgd": of(library.attacks.LinfPGD(abs_stepsize=STEP, steps=STEPS), RADIUS),
        WALK: of(library.attacks.HopSkipJumpAttack(steps=WALKED), None),
    }


def art(module: Any) -> dict[str, Attack]:
    """ART's attacks by name."""
    loss = importlib.import_module("torch").nn.CrossEntropyLoss()
    attacks = importlib.import_module("art.attacks.evasion")
    estimators = importlib.import_module("art.estimators.classification")
    model = estimators.PyTorchClassifier(module, loss, (1, 28, 28), 10, clip_values=(0, 1))
    common = {"batch_size": BATCH, "verbose": False}
    ball = {"eps": RADIUS, "eps_step": STEP, "max_iter": STEPS, "num_random_init": 1}
    climb = attacks.ProjectedGradientDescentPyTorch(model, **ball, **common)
    search = attacks.SquareAttack(model, max_iter=PROPOSALS, eps=RADIUS, p_init=0.8, **common)
    walk = attacks.HopSkipJump(model, max_iter=WALKED, **common)
    return {
        "pgd": lambda x, y, starts: climb.generate(x, y),
        "square": lambda x, y, starts: search.generate(x, y),
        WALK: lambda x, y, starts: walk.generate(x, y, x_adv_init=starts),
    }


TOOLS = {"Foolbox": foolbox, LOOP: art}


def starts_of(work: Work) -> np.ndarray:
    """For each point the nearest one of another class."""
    x = work.x.reshape(len(work.x), -1)
    gaps = np.sum(x**2, axis=1) - 2 * x @ x.T
    return work.x[np.argmin(np.where(work.y[:, None] == work.y, np.inf, gaps), axis=1)]


def points_of(tool: str, attack: str, work: Work, looped: int) -> int:
    """How many points are enough to time it: all, where that does not take minutes."""
    if attack == WALK:
        return looped if tool == LOOP else BATCH
    return BATCH if (attack, work.net) == ("square", "cnn") else len(work.x)


def theirs(tool: str, work: Work, wanted: Sequence[str], threads: int, looped: int) -> dict[str, Callable[[], Answer]]:
    """A tool's attacks on the twin, in each layout; ART's HopSkipJump on one thread and on all."""
    torch: Any = importlib.import_module("torch")
    warnings.simplefilter("ignore")
    torch.set_num_threads(threads)
    x, starts = (channels_first(images).numpy() for images in (work.x, starts_of(work)))
    images = (x, work.y.astype(np.int64), starts)

    def run(module: Any, attack: Attack, threads: int, points: int, seed: int) -> Answer:
        torch.set_num_threads(threads)
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002  (what ART draws from)
        module.asked = 0
        changed = channels_last(attack(*(part[:points] for part in images)))
        return Answer(changed, module.asked)

    runs = {}
    for layout in ("", "channels_last") if work.net == "cnn" else ("",):
        module = twin(work.leaves, work.x, work.logits, memory_format=layout or "contiguous_format")
        for name, attack in TOOLS[tool](module).items():
            several = (tool, name) == (LOOP, WALK)
            for count in sorted({1, threads}) if several else (threads,):
                own = functools.partial(run, module, attack, count)
                title = ", ".join([tool, *["channels-last"] * bool(layout), *[f"threads {count}"] * several])
                if name in wanted:
                    own(2, 0)  # warms up
                    points = points_of(tool, name, work, looped)
                    runs[f"{name}: {title}"] = seeded(functools.partial(own, points))
    return runs


def found_by(work: Work, attack: str, costs: Mapping[str, Sequence[Cost]]) -> Iterator[str]:
    """A heading, and for each run what its last round found, as our own network sees it."""
    yield "points  queries  fooled   size"
    target = target_of(work)
    for found in costs.values():
        x, queries = found[-1].answer
        change = (x - work.x[: len(x)]).reshape(len(x), -1)
        sizes = np.linalg.norm(change, axis=1) if attack == WALK else np.abs(change).max(axis=1)
        fooled = np.asarray(target.labels(x)) != work.y[: len(x)]
        size = np.median(sizes[fooled]) if fooled.any() else np.nan
        yield f"{len(x):6}  {queries / len(x):7.1f}  {fooled.mean():6.3f}  {size:5.3f}"


def shown(work: Work, attack: str, costs: dict[str, list[Cost]]) -> dict[str, list[Cost]]:
    """Prints the table and the ratios; costs of a point, of HopSkipJump those of a query."""
    points = {name: len(found[0].answer.x) for name, found in costs.items()}
    lines = table(costs, ours=OURS, each=points).splitlines()
    print(f"\n{attack}, {work.net}; ms of a point")
    print(*(f"{line}  {found}" for line, found in zip(lines, found_by(work, attack, costs), strict=True)), sep="\n")
    unit = "query" if attack == WALK else "point"
    costs = per(costs, (lambda cost: cost.answer.queries) if attack == WALK else points)
    for name in costs:
        if name != OURS:
            print(f"a {unit} of {name} against ours: {by_both(costs[name], costs[OURS])}", flush=True)
    return costs


def compared(net: str, given: argparse.Namespace) -> dict[str, list[Cost]]:
    """Runs every attack of every tool in turns and prints the tables; costs of a query of HopSkipJump, if it ran."""
    with Elsewhere(trained, given.data, net, given.records, given.points) as side:
        work = side.run("work")().answer
    print(f"\n{net}, accuracy {work.accuracy:.3f}; {len(work.x)} points", flush=True)
    wanted = (given.only,) if given.only else ATTACKS
    costs = {}
    with ExitStack() as stack:
        own = stack.enter_context(Elsewhere(ours, work, wanted))
        for name, seconds in own.run("compiling")().answer.items():
            print(f"{name}: {seconds:.1f} s for {min(BATCH, len(work.x))} points with its compilation")
        sides = [own]
        for tool in TOOLS:
            try:
                sides.append(stack.enter_context(Elsewhere(theirs, tool, work, wanted, given.threads, given.looped)))
            except ImportError as missing:
                absent(missing)
        for attack in wanted:
            named = {name: side for side in sides for name in side.names if name.startswith(f"{attack}: ")}
            runs = {name.removeprefix(f"{attack}: "): side.run(name) for name, side in named.items()}
            costs[attack] = shown(work, attack, in_turns(runs, 1 if attack == "square" else given.rounds))
    return costs.get(WALK, {})


def main() -> None:
    """Prints a table for each network and attack, HopSkipJump's ratio on the CNN, then one JSON line: on the MLP."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="mnist.npz; by default it is looked for in $PRIVSEC_DATA, then downloaded")
    parser.add_argument("--net", choices=("mlp", "cnn", "both"), default="both")
    parser.add_argument("--records", type=int, default=10_000, help="to train on")
    parser.add_argument("--points", type=int, default=1000, help="to attack")
    parser.add_argument("--looped", type=int, default=24, help="how many of them ART's HopSkipJump attacks")
    parser.add_argument("--rounds", type=int, default=3, help="in turns; Square, which takes long, runs once")
    parser.add_argument("--threads", type=int, default=CORES, help="of PyTorch, at most")
    parser.add_argument("--only", choices=ATTACKS)
    given = parser.parse_args()
    print(machine(), versions("torch", "foolbox", "adversarial-robustness-toolbox"), sep="\n")
    costs = {net: compared(net, given) for net in ("mlp", "cnn") if given.net in (net, "both")}
    mlp, cnn = (costs.get(net, {}) for net in ("mlp", "cnn"))
    on_mlp, on_cnn = fastest(mlp, LOOP), fastest(cnn, LOOP)
    if on_cnn:
        print(f"\n{WALK}, cnn: a query of {on_cnn} against ours: {by_both(cnn[on_cnn], cnn[OURS])}")
    tool = versions("adversarial-robustness-toolbox").split(", ")[-2]
    loop = mlp[on_mlp] if on_mlp else []
    headline(CLAIM, f"{tool}, mlp, {on_mlp or 'not run'}, seconds a query", loop, mlp.get(OURS, []))


if __name__ == "__main__":
    main()
