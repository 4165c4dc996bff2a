"""The command line. No logic: each command calls the function of the same name."""

from __future__ import annotations

import json
import sys
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

Config = Annotated[str, typer.Argument(metavar="CONFIG", help="An experiment: a YAML, TOML or JSON file.")]
Sets = Annotated[
    list[str] | None, typer.Option("--set", metavar="a.b=value", help="Overrides one setting; may be repeated.")
]
Folder = Annotated[Path, typer.Argument(help="A run folder, as `privsec run` printed it.")]

SOME_FAILED = 3
WRONG_USAGE = 2
INTERRUPTED = 130


@app.command()
def run(
    config: Config,
    out: Annotated[Path, typer.Option(help="The folder that holds runs and trained models.")] = Path("runs"),
    sets: Sets = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Forget what earlier runs of this config finished.")] = False,
) -> None:
    """Runs an experiment: trains, attacks, measures; writes a table and an HTML report.

    Interrupted at any moment, the same command continues where it stopped. Exit status: 0 done, 2 wrong config or data
    (nothing was computed), 3 finished but some cells failed.
    """
    from privsec.report.terminal import summary
    from privsec.runner.config import load
    from privsec.runner.execute import run as execute

    try:
        results = execute(load(config, sets or ()), out=out, fresh=fresh)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; the same command continues where it stopped\n")
        raise typer.Exit(INTERRUPTED) from None
    page = results.report()
    console = Console()
    console.print(summary(results))
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
) -> None:
    """Writes the JSON schema of a config, which editors use to complete and check it."""
    from privsec.runner.config import schema as make

    _generated(path, json.dumps(make(), indent=1) + "\n", check)


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
