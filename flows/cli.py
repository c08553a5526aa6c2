"""The command line: `databourse`. Results go to stdout, progress and messages to stderr."""

from __future__ import annotations

import json
import sys
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from databourse import __version__
from databourse.errors import ConfigError, DatabourseError, UnknownNameError
from flows.attribution_command import attribution
from flows.compare_command import compare
from flows.explain_command import explain
from flows.gc_command import gc
from flows.manifest_commands import manifest_app
from flows.price_command import price
from flows.settle_command import settle
from flows.starting_points import DEMO_CONFIG, EXAMPLES, INIT_CONFIG, example_config
from flows.terminal import flow_on_the_terminal

if TYPE_CHECKING:
    from databourse.refresh.publication import Outcome


class _App(typer.Typer):
    """Prints a databourse error as one line and exits with its code."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - typer's signature
        try:
            return super().__call__(*args, **kwargs)
        except DatabourseError as error:
            typer.echo(f"error: {error}", err=True)
            _release_frames(error)
            sys.exit(error.exit_code)


def _release_frames(error: BaseException | None) -> None:
    """Let go of what failed frames hold: DuckDB objects alive at exit print pages of warnings."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


app = _App(
    name="databourse",
    help="A market for training data: signals trade, prices clear, a token budget buys.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(manifest_app, name="manifest")
app.command(
    epilog="Example: databourse price databourse.yaml --budget-tokens 30000 --without rarity"
)(price)
app.command(epilog="Example: databourse explain databourse.yaml 3f9a1c07")(explain)
app.command(epilog="Example: databourse settle databourse.yaml --contracts 500")(settle)
app.command(epilog="Example: databourse attribution databourse.yaml --proxy linear --subsets 100")(
    attribution
)

app.command(epilog="Example: databourse gc databourse.yaml --yes")(gc)
app.command(epilog="Example: databourse compare databourse.yaml --set compare.seeds=5")(compare)

ConfigArgument = Annotated[Path, typer.Argument(metavar="CONFIG", help="The YAML config.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a key, e.g. budget.tokens=60000."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]


def _version(value: bool) -> None:  # noqa: FBT001 - typer's callback
    if value:
        typer.echo(f"databourse {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    del version


@app.command(epilog="Example: databourse demo --dir /tmp/demo")
def demo(
    directory: Annotated[
        Path, typer.Option("--dir", help="Where config, warehouse and manifests go.")
    ] = Path("databourse-demo"),
    *,
    as_json: JsonOption = False,
) -> None:
    """Run a whole refresh on real documents: the docstrings of installed Python packages."""
    directory.mkdir(parents=True, exist_ok=True)
    config_path = directory / "demo.yaml"
    if not config_path.exists():
        config_path.write_text(DEMO_CONFIG, encoding="utf-8")
    _refresh(config_path, [], as_json=as_json)


@app.command(epilog="Example: databourse init my-pool")
def init(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="Where to write databourse.yaml.")
    ],
    *,
    start: Annotated[
        str | None,
        typer.Option("--from", metavar="NAME", help=f"A ready comparison: {', '.join(EXAMPLES)}."),
    ] = None,
    data: Annotated[
        Path, typer.Option(metavar="FOLDER", help="With --from: where the published files are.")
    ] = Path("data"),
) -> None:
    """Write a commented config to start from.

    With --from, a whole comparison: pool, targets, test set, budgets and samplers. A relative
    --data starts at DIR.
    """
    path = directory / "databourse.yaml"
    if path.exists():
        raise ConfigError(f"{path} exists already; edit it, or choose another folder")
    if start is not None and start not in EXAMPLES:
        raise UnknownNameError("comparison", start, EXAMPLES, where="init --from")
    text = (
        INIT_CONFIG.format(name=path.name)
        if start is None
        else example_config(start, file_name=path.name, data=data.as_posix())
    )
    directory.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    typer.echo(f"wrote {path}; edit it, then: databourse validate {path}")


@app.command(epilog="Example: databourse validate databourse.yaml")
def validate(
    config: ConfigArgument,
    *,
    overrides: SetOption = None,
    show: Annotated[
        bool, typer.Option("--show", help="Print the config with every default.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Check config, files, columns, models and contracts, before any compute."""
    from databourse.refresh.validation import validate_config

    checks = validate_config(config, overrides or [])
    if as_json:
        typer.echo(json.dumps({"ok": True, "checks": [asdict(check) for check in checks.checks]}))
        return
    for check in checks.checks:
        typer.echo(f"ok  {check.what:<10} {check.found}")
    if show:
        typer.echo(f"\n{checks.config_text}", nl=False)


@app.command(epilog="Example: databourse run databourse.yaml --set budget.tokens=60000")
def run(
    config: ConfigArgument,
    *,
    overrides: SetOption = None,
    wait: Annotated[
        float | None,
        typer.Option(
            metavar="MINUTES",
            min=0,
            help="Wait so long for another run that writes the warehouse.",
            show_default="compute.wait_minutes",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Refresh the pool: from sources to a published manifest."""
    waiting = [] if wait is None else [f"compute.wait_minutes={wait:g}"]
    _refresh(config, [*(overrides or []), *waiting], as_json=as_json)


@app.command(epilog="Example: databourse doctor --json")
def doctor(*, as_json: JsonOption = False) -> None:
    """Show what is installed, which devices are there, and what is missing for what."""
    from databourse.refresh.environment import examine_environment

    findings = examine_environment()
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in findings]))
        return
    for finding in findings:
        mark = "ok " if finding.present else "-- "
        typer.echo(f"{mark} {finding.what:<24} {finding.found:<28} {finding.needed_for}")


def _refresh(config_path: Path, overrides: list[str], *, as_json: bool) -> None:
    """Run the flow in this process, with bars, and print what came of it."""
    from databourse.config import load_config

    # a mistake shows now, not after Prefect has started
    config = load_config(config_path, overrides)
    with flow_on_the_terminal():
        from flows.refresh_pool import refresh_pool

        result = refresh_pool(config_path=str(config_path.resolve()), overrides=overrides)
    if as_json:
        typer.echo(json.dumps(asdict(result)))
        return
    typer.echo(_summary(result))
    if config.data_docs:
        from databourse.refresh.data_docs import data_docs_path

        warehouse = (config_path.resolve().parent / config.warehouse).resolve()
        typer.echo(f"  data docs {_short(str(data_docs_path(warehouse, result.run_id)))}")


def _summary(result: Outcome) -> str:
    dropped = (
        ", ".join(f"{count:,} {reason}" for reason, count in result.dropped.items()) or "nothing"
    )
    state = (
        f"Published {result.pool} version {result.version}"
        if result.published
        else f"Nothing new: {result.pool} version {result.version} already holds this selection"
    )
    return (
        f"\nBought {result.documents:,} of {result.candidates:,} documents for "
        f"{result.tokens:,} tokens (budget: {result.budget}).\n"
        f"Dropped before the market: {dropped}.\n"
        f"{state} (manifest {result.manifest_id[:16]}).\n"
        f"  manifest  {_short(result.path)}\n"
        f"  report    {_short(result.report)}\n"
        f"  verify    {_command()} manifest verify {_short(result.path)}"
    )


def _short(path: str) -> str:
    """Return a path as seen from here, if it is below."""
    here = Path.cwd()
    return str(Path(path).relative_to(here)) if Path(path).is_relative_to(here) else path


def _command() -> str:
    """Return what was typed to start this program, so that it can be typed again."""
    return _short(sys.argv[0]) if Path(sys.argv[0]).name == "databourse" else "databourse"
