"""The order of things: data, training, targets, attacks, judgement, table. The only file that knows it."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from privsec.runner import lineage, provenance
from privsec.runner.config import Experiment, load
from privsec.runner.executors.base import Crew
from privsec.runner.plan import plan
from privsec.runner.progress import Narrator
from privsec.runner.results import Results
from privsec.runner.slices import slices_of
from privsec.runner.store import Store, open_run
from privsec.runner.table import table_of
from privsec.runner.work import Work

PROFILE = "profile"
"""Where a run folder has its profiles."""


def run(
    source: str | Path | dict[str, Any] | Experiment,
    *,
    out: str | Path = "runs",
    fresh: bool = False,
    profile: bool = False,
    narrator: Narrator | None = None,
) -> Results:
    """Runs an experiment to its table; what an earlier run of it finished is not computed again.

    Args:
        source: a config file (YAML, TOML, JSON), its values, or an Experiment.
        out: the folder that holds run folders and the bank of models.
        fresh: forget finished models and cells of this experiment first.
        profile: let JAX's profiler write what the devices do to `profile/` in the run folder.
        narrator: shows progress; by default on stderr where that is a terminal.

    Returns:
        The Results, with `.table` (a DataFrame), `.record`, `.cells` and `.report()`. Cells that failed are in it, each
        with its reason (`Results.failed`).

    Raises:
        ConfigError: the config is wrong; nothing was computed.
        DataError: the data set is missing, malformed or too small; nothing was computed.
    """
    experiment = load(source)
    provenance.enable_compilation_cache()
    with experiment.executor.crew() as crew, narrator or Narrator() as shown:
        made = plan(experiment)
        store = Store(experiment, Path(out))
        work = Work(made, store, shown)
        if not crew.leads:
            crew.gather(store)
            return _follow(crew, work)
        with store.alone(lambda: shown.warn(f"{store.folder} is in use: waiting for it")):
            if fresh:
                store.forget(made.banks)
            try:
                crew.gather(store)
                with work.stages.watched(store.folder / PROFILE if profile else None):
                    return _lead(crew, work)
            finally:
                store.leave_no_empty_folder()


def _lead(crew: Crew, work: Work) -> Results:
    """Fills every cell that is not filled yet, with the crew, and writes the table."""
    experiment, store, cells = work.plan.experiment, work.store, work.plan.cells
    results = {cell.digest: store.load_cell(cell) for cell in cells}
    todo = [cell for cell in cells if results[cell.digest] is None]
    drawn = work.draw(todo)
    filled = work.narrator.follow("cells", crew.fill(work, todo), len(cells), len(cells) - len(todo))
    results |= {cell.digest: result for cell, result in filled}
    finished = [(cell, result) for cell in cells if (result := results[cell.digest])]
    found, facts = [result for _, result in finished], {}
    if drawn:
        worlds = {seed: work.banks.world(seed) for seed in experiment.seeds}
        with work.stages.timed("data"):
            facts["data"] = provenance.data_facts(work.banks.dataset, worlds[experiment.seeds[-1]])
        facts["lineage"] = lineage.write(store, worlds, cells)
    record = provenance.record(experiment, store.folder, work.stages, facts | crew.facts)
    said = record.get("data", {})
    slices = slices_of(experiment, found, said.get("class_names", ()), said.get("group_names"))
    saved = store.save_run(finished, table_of(experiment, found), slices, record)
    crew.dismiss()
    return saved


def _follow(crew: Crew, work: Work) -> Results:
    """Fills one's share of the cells, and opens what the leader wrote of them all."""
    todo = [cell for cell in work.plan.cells if work.store.load_cell(cell) is None]
    work.draw(todo)
    with contextlib.closing(crew.fill(work, todo)) as filled:
        for _ in filled:
            pass
    crew.dismiss()
    return open_run(work.store.folder)
