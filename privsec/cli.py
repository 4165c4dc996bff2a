"""The command line. No logic: each command calls the function of the same name."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from privsec.core.errors import PrivsecError

app = typer.Typer(
    name="privsec",
    help="What does a model leak, what does each defense buy, and what does it cost in utility?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

data = typer.Typer(help="Checks data before they are trained on, and tells where those of a run came from.")
app.add_typer(data, name="data", no_args_is_help=True)

Config = Annotated[str, typer.Argument(metavar="CONFIG", help="An experiment: a YAML, TOML or JSON file.")]
Sets = Annotated[
    list[str] | None, typer.Option("--set", metavar="a.b=value", help="Overrides one setting; may be repeated.")
]
Folder = Annotated[Path, typer.Argument(help="A run folder, as `privsec run` printed it.")]

GATE_FAILED = 1
SOME_FAILED = 3
WRONG_USAGE = 2
INTERRUPTED = 130


@app.command()
def run(
    config: Config,
    out: Annotated[Path, typer.Option(help="The folder that holds runs and trained models.")] = Path("runs"),
    sets: Sets = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Forget what earlier runs of this config finished.")] = False,
    profile: Annotated[
        bool,
        typer.Option(
            "--profile",
            help="Print where the time goes, and write a JAX profile of the first minute to the run folder.",
        ),
    ] = False,
    executor: Annotated[
        str | None, typer.Option(help="Who computes it: local, distributed or ray, instead of the config's.")
    ] = None,
    ray_address: Annotated[str | None, typer.Option(help="With --executor ray: the cluster, `auto` for one.")] = None,
) -> None:
    """Runs an experiment: trains, attacks, measures; writes a table and an HTML report.

    Interrupted at any moment, the same command continues where it stopped. Exit status: 0 done, 2 wrong config or data
    (nothing was computed), 3 finished but some cells failed, 4 another process of a distributed run was lost.
    """
    from privsec.report.terminal import stages, summary
    from privsec.runner.config import load
    from privsec.runner.execute import PROFILE
    from privsec.runner.execute import run as execute

    try:
        cluster = [f"executor.ray_address={json.dumps(ray_address)}"] if ray_address else []
        experiment = load(config, [*(sets or ()), *cluster], executor)
        results = execute(experiment, out=out, fresh=fresh, profile=profile)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; the same command continues where it stopped\n")
        raise typer.Exit(INTERRUPTED) from None
    if not experiment.executor.leads():  # process 0 speaks for all
        raise typer.Exit(SOME_FAILED if results.failed else 0)
    start = time.perf_counter()
    page = results.report()
    console = Console()
    console.print(summary(results))
    if profile:
        console.print(stages(results), f"report  {time.perf_counter() - start:.1f} s, not counted above", "")
        console.print(f"profile {results.folder / PROFILE}", highlight=False, soft_wrap=True)
    console.print(f"table   {results.folder / 'table.csv'}", highlight=False, soft_wrap=True)
    console.print(f"report  {page}", highlight=False, soft_wrap=True)
    if results.failed:
        for cell in results.failed:
            sys.stderr.write(f"failed: {cell.defense} x {cell.attack or 'utility'}, seed {cell.seed}: {cell.reason}\n")
        raise typer.Exit(SOME_FAILED)


@app.command()
def plan(
    config: Config,
    sets: Sets = None,
    out: Annotated[Path, typer.Option(help="The folder that holds runs and trained models.")] = Path("runs"),
) -> None:
    """Shows what an experiment would train and attack, and what it would cost. Computes nothing."""
    from privsec.runner.config import load
    from privsec.runner.forecast import forecast
    from privsec.runner.plan import plan as make

    console = Console()
    for line in forecast(make(load(config, sets or ())), out):
        console.print(line, highlight=False, soft_wrap=True)


@app.command()
def report(folder: Folder) -> None:
    """Writes the HTML report of a finished run again."""
    from privsec.runner.store import open_run

    typer.echo(open_run(folder).report())


@app.command()
def compare(
    first: Folder,
    second: Folder,
    html: Annotated[Path | None, typer.Option(help="Also write the comparison as an HTML page.")] = None,
) -> None:
    """Puts two runs side by side: what changed, and whether it is more than noise."""
    from privsec.report.compare import compare as contrast
    from privsec.report.compare import write_comparison
    from privsec.runner.store import open_run

    a, b = open_run(first), open_run(second)
    Console().print(contrast(a, b))
    if html:
        typer.echo(write_comparison(a, b, html))


@app.command()
def audit(
    context: typer.Context,
    members: Annotated[
        str | None, typer.Option(help="What is known of the members: scores, answers or (with a model) records.")
    ] = None,
    non_members: Annotated[
        str | None, typer.Option(help="The same of records the model was not trained on; or a `member` column says it.")
    ] = None,
    what: Annotated[
        str | None, typer.Option(help="What bare numbers are: score, loss, confidence, logits or probabilities.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(metavar="FOLDER|FILE.py:NAME", help="The model: a saved one, or a Target in Python.")
    ] = None,
    url: Annotated[str | None, typer.Option(help="The model's endpoint, which answers JSON.")] = None,
    classes: Annotated[int | None, typer.Option(help="With --url: the number of classes.")] = None,
    answers: Annotated[
        str, typer.Option(help="With --url: what it answers: probabilities, log_probabilities, logits or labels.")
    ] = "probabilities",
    token_env: Annotated[
        str | None, typer.Option(metavar="VARIABLE", help="With --url: where the bearer token stands.")
    ] = None,
    budget: Annotated[int | None, typer.Option(help="With --url: the most records that may be asked about.")] = None,
    population: Annotated[
        str | None, typer.Option(help="Records from the same source that nobody trained on and that are not audited.")
    ] = None,
    trainer: Annotated[
        str | None,
        typer.Option(metavar="FILE.py:NAME", help="A function (x, y, seed) that trains a model like the audited one."),
    ] = None,
    shadows: Annotated[int, typer.Option(help="With --trainer: how many reference models to train.")] = 16,
    train: Annotated[
        str | None, typer.Option(metavar="CONFIG", help="Instead of a model: train one with canaries in its data.")
    ] = None,
    defense: Annotated[str | None, typer.Option(help="With --train: which defense list of the config.")] = None,
    canaries: Annotated[int, typer.Option(help="With --train: how many canaries are drawn for.")] = 1000,
    kind: Annotated[
        str, typer.Option(help="With --train: mislabeled, blank, out_of_distribution or gradient.")
    ] = "mislabeled",
    access: Annotated[str, typer.Option(help="With --train: black-box or white-box.")] = "black-box",
    epsilon: Annotated[float | None, typer.Option(help="The epsilon that is claimed for the model.")] = None,
    delta: Annotated[
        float | None, typer.Option(help="The delta of every epsilon; by default 1e-5, with --train the config's own.")
    ] = None,
    design: Annotated[
        str, typer.Option(help="How members came about: records, fair_coins or independent_runs.")
    ] = "records",
    policy: Annotated[str | None, typer.Option(help="A YAML file of thresholds; exit 1 where one is broken.")] = None,
    fail_if: Annotated[
        list[str] | None, typer.Option(metavar="'epsilon_lower > 8'", help="Exit 1 where this holds; may be repeated.")
    ] = None,
    title: Annotated[str, typer.Option(help="Heads the page.")] = "",
    seed: Annotated[int, typer.Option(help="Of everything that is drawn.")] = 0,
    out: Annotated[Path, typer.Option(help="Where audit.json and audit.html go.")] = Path("audit"),
) -> None:
    """Scores a model you already have, or a training: what it leaks, with bounds that hold; audit.json, audit.html.

    From score files (--members a.npy --non-members b.npy), from a model and records (--model, --url), or from one
    training with canaries (--train).

    Exit status: 0 done, 1 a threshold was broken, 2 wrong usage or data,
    3 the audit cannot be used as it stands.
    """
    from privsec.auditor.requested import requested
    from privsec.report.audit_terminal import summary

    result = requested(**{name: given for name, given in context.params.items() if name != "out"})
    saved = result.save(out)
    page = result.report(out / "audit.html")
    console = Console()
    console.print(summary(result.record))
    console.print(f"record  {saved}", highlight=False, soft_wrap=True)
    console.print(f"page    {page}", highlight=False, soft_wrap=True)
    if not result.passed:
        raise typer.Exit(GATE_FAILED)
    if result.verdict.level == "unusable":
        raise typer.Exit(SOME_FAILED)


@app.command()
def account(
    context: typer.Context,
    ledger: Annotated[
        Path | None, typer.Argument(metavar="[LEDGER]", help="A ledger to read; or to enter this training into.")
    ] = None,
    records: Annotated[int | None, typer.Option(help="Number of training records.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Records a step sees, on average.")] = None,
    sampling_rate: Annotated[float | None, typer.Option(help="Instead of records and batch size.")] = None,
    steps: Annotated[int | None, typer.Option(help="Optimizer steps; or give --epochs.")] = None,
    epochs: Annotated[float | None, typer.Option(help="Passes over the records; or give --steps.")] = None,
    noise_multiplier: Annotated[float | None, typer.Option(help="Noise per clip norm: gives epsilon.")] = None,
    epsilon: Annotated[float | None, typer.Option(help="A budget: gives the noise multiplier it takes.")] = None,
    delta: Annotated[float | None, typer.Option(help="In (0, 1), well below 1 / records.")] = None,
    title: Annotated[str, typer.Option(help="With a ledger: names the training.")] = "",
    released: Annotated[str, typer.Option(help="With a ledger: what left the house, e.g. weights.")] = "",
    data: Annotated[
        Path | None, typer.Option(help="With a ledger: the file of the data set, by whose content it is known.")
    ] = None,
    budget: Annotated[float | None, typer.Option(help="With a new ledger: the epsilon that may be spent.")] = None,
    force: Annotated[str, typer.Option(help="With a ledger: why the training is entered beyond the budget.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """What a training with DP-SGD guarantees, or what noise an epsilon takes; and the ledger of a data set.

    `--records 60000 --batch-size 600 --epochs 20 --noise-multiplier 1 --delta 1e-5` gives epsilon; `--epsilon 3` in
    place of the noise gives the noise. With LEDGER, --title, --released and --data the training is entered there.
    """
    from privsec.privacy.ledger import OverBudget
    from privsec.privacy.requested import requested
    from privsec.report.accounting import lines

    try:
        answer = requested(**{name: given for name, given in context.params.items() if name != "as_json"})
    except OverBudget as error:
        sys.stderr.write(f"{error}\n")
        raise typer.Exit(GATE_FAILED) from None
    if as_json:
        typer.echo(answer.numbers.model_dump_json(indent=1))
    else:
        Console().print(lines(answer.rows, answer.warnings))


@app.command()
def catalog(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    into: Annotated[Path | None, typer.Option(help="Write the tables between the marks of a Markdown file.")] = None,
    check: Annotated[Path | None, typer.Option(help="Exit 1 if the tables of a Markdown file are out of date.")] = None,
) -> None:
    """Lists every attack, defense, data set and net, with what each needs."""
    from privsec.runner import catalog as made

    if path := into or check:
        _generated(path, made.into(path.read_text(encoding="utf-8")), check is not None)
    elif as_json:
        typer.echo(json.dumps(made.entries(), indent=1))
    else:
        for kind, rows in made.entries().items():
            table = Table(title=kind, title_justify="left", box=None, padding=(0, 2, 0, 0))
            columns = [name for name in rows[0] if name != "paper"]
            for name in columns:
                table.add_column(name, no_wrap=name != columns[-1])
            for row in rows:
                table.add_row(*(row[name] for name in columns))
            Console().print(table, "")


@app.command()
def schema(
    path: Annotated[Path, typer.Argument(help="Where to write it.")] = Path("configs/schema.json"),
    check: Annotated[bool, typer.Option("--check", help="Write nothing; exit 1 if the file is out of date.")] = False,
    of_audit: Annotated[bool, typer.Option("--audit", help="The schema of audit.json instead.")] = False,
) -> None:
    """Writes the JSON schema of a config, which editors use to complete and check it, or that of `audit.json`."""
    if of_audit:
        from privsec.auditor.record import schema as make
    else:
        from privsec.runner.config import schema as make

    _generated(path, json.dumps(make(), indent=1) + "\n", check)


@data.command("check")
def data_check(
    file: Annotated[Path, typer.Argument(help="A csv, tsv, parquet or npz file.")],
    schema: Annotated[Path, typer.Option(help="The rules: a YAML file, as `privsec data schema` writes it.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Holds a file against a schema and lists every rule that it breaks.

    Exit status: 0 no rule is broken, 1 some are, or the file cannot be read, 2 wrong usage or schema.
    """
    from privsec.report.data_quality import problems
    from privsec.schema.files import check

    found = check(file, schema)
    typer.echo(json.dumps(found.as_json(), indent=1) if as_json else problems(found))
    if not found.passed:
        raise typer.Exit(GATE_FAILED)


@data.command("schema")
def data_schema(
    file: Annotated[Path, typer.Argument(help="A csv, tsv, parquet or npz file that is known to be clean.")],
    out: Annotated[Path, typer.Option(help="Where to write the rules.")],
    slack: Annotated[
        float, typer.Option(help="How far ranges reach beyond what was seen, as a share of their width.")
    ] = 0.0,
    delimiter: Annotated[
        str | None, typer.Option(help="What separates the cells; by default a comma, in a tsv file a tab.")
    ] = None,
    encoding: Annotated[str, typer.Option(help="Of the text, for example latin-1.")] = "utf-8",
) -> None:
    """Writes the strictest rules that a clean file keeps; read and loosen them before you enforce them."""
    from privsec.schema.files import infer
    from privsec.schema.rules import write

    rules, remarks = infer(file, slack=slack, delimiter=delimiter, encoding=encoding)
    typer.echo(write(rules, out))
    for remark in remarks:
        sys.stderr.write(f"{remark}\n")


@data.command("lineage")
def data_lineage(
    folder: Annotated[Path, typer.Argument(help="A run folder, or that of a saved model whose card has a lineage.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Shows where the data of a run or model came from and who was trained on what, and whether a byte changed since.

    Exit status: 0 everything is as it was, 1 something changed or is gone, 2 no such run or model.
    """
    from privsec.report.data_quality import lineage
    from privsec.runner.lineage_check import verify

    found = verify(folder)
    typer.echo(json.dumps(found.as_json(), indent=1) if as_json else lineage(found))
    if not found.intact:
        raise typer.Exit(GATE_FAILED)


def _generated(path: Path, text: str, check: bool) -> None:
    """Writes a generated file, or says whether it is what the code would write."""
    if not check:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        typer.echo(path)
    elif not path.exists() or path.read_text(encoding="utf-8") != text:
        typer.echo(f"{path} does not match the code: run `make schema`", err=True)
        raise typer.Exit(1)


def main() -> None:
    """The entry point: errors that privsec raises on purpose are told without a traceback."""
    try:
        app()
    except PrivsecError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(WRONG_USAGE) from None
