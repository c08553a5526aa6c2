"""`databourse manifest`: list, show and verify published manifests; needs the base install only."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from databourse.manifests import ManifestInfo, PoolListing, VersionListing

manifest_app = typer.Typer(
    name="manifest",
    help="List, read and verify published manifests.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

PathArgument = Annotated[
    str, typer.Argument(metavar="PATH", help="Folder of a pool or of one version; a path or URI.")
]
VersionOption = Annotated[
    int | None,
    typer.Option("--version", min=1, help="Which version of the pool.", show_default="latest"),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object instead.")]

_WIDTH_OF_FILES = 120  # columns of text that goes to a file or a pipe


@manifest_app.command("list")
def list_command(
    path: Annotated[
        str, typer.Argument(metavar="DIR", help="Folder of all pools, or of one; a path or URI.")
    ],
    *,
    as_json: JsonOption = False,
) -> None:
    """Print which pools and versions there are, with documents, tokens, id and date.

    Example: databourse manifest list ./manifests
    """
    from databourse.manifests import list_manifests

    pools = list_manifests(path)
    if as_json:
        _print_json({"pools": [_pool_record(pool) for pool in pools]})
        return
    _print_table(
        ["pool", "version", "state", "documents", "tokens", "manifest id", "created"],
        [_listing_row(pool.pool, version) for pool in pools for version in pool.versions],
    )
    for pool in pools:
        for problem in (pool.problem, *(version.problem for version in pool.versions)):
            if problem:
                typer.echo(problem, err=True)


@manifest_app.command("show")
def show_command(
    path: PathArgument, *, version: VersionOption = None, as_json: JsonOption = False
) -> None:
    """Print what a manifest holds: what was bought, under which budget, by which signals.

    Example: databourse manifest show ./manifests/ag_news --version 2
    """
    from databourse.manifests import open_manifest

    manifest = open_manifest(path, "latest" if version is None else version)
    if as_json:
        _print_json(manifest.info.model_dump(mode="json"))
        return
    _print_summary(manifest.info, manifest.location)


@manifest_app.command("verify")
def verify_command(
    path: PathArgument, *, version: VersionOption = None, as_json: JsonOption = False
) -> None:
    """Check every byte and every total of a manifest; exit code 1 names each bad file.

    Example: databourse manifest verify s3://bucket/manifests/ag_news
    """
    from databourse.manifests import verify

    report = verify(path, version="latest" if version is None else version)
    info = report.info
    if as_json:
        _print_json(
            {
                "ok": report.ok,
                "path": report.location,
                "manifest_id": info.manifest_id if info else None,
                "version": info.version if info else None,
                "problems": [
                    {"file": problem.file, "what": problem.what} for problem in report.problems
                ],
            }
        )
    elif info is not None and report.ok:
        typer.echo(
            f"ok: {info.pool} version {info.version}, {info.spent.documents:,} documents, "
            f"{info.spent.tokens:,} tokens, manifest id {info.manifest_id}"
        )
    else:
        for problem in report.problems:
            typer.echo(f"{problem.file}: {problem.what}")
        typer.echo(f"the manifest at {report.location} is damaged; copy it again", err=True)
    if not report.ok:
        raise typer.Exit(1)


def _print_json(record: dict[str, object]) -> None:
    typer.echo(json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False))


def _pool_record(pool: PoolListing) -> dict[str, object]:
    return {
        "pool": pool.pool,
        "path": pool.location,
        "latest": pool.latest,
        "problem": pool.problem or None,
        "versions": [_version_record(version) for version in pool.versions],
    }


def _version_record(listing: VersionListing) -> dict[str, object]:
    info = listing.info
    return {
        "version": listing.version,
        "path": listing.location,
        "state": listing.state,
        "problem": listing.problem or None,
        "manifest_id": info.manifest_id if info else None,
        "documents": info.spent.documents if info else None,
        "tokens": info.spent.tokens if info else None,
        "created_at": info.model_dump(mode="json")["created_at"] if info else None,
    }


def _listing_row(pool: str, listing: VersionListing) -> list[str]:
    info = listing.info
    if info is None:
        return [pool, str(listing.version), listing.state, "", "", "", ""]
    return [
        pool,
        str(listing.version),
        listing.state,
        f"{info.spent.documents:,}",
        f"{info.spent.tokens:,}",
        info.manifest_id[:12],
        f"{info.created_at:%Y-%m-%d %H:%M}",
    ]


def _print_summary(info: ManifestInfo, location: str) -> None:
    typer.echo("\n".join(f"{name:<16}{text}" for name, text in _headlines(info, location)))
    _print_section(
        "Bought by topic",
        ["topic", "documents", "of", "tokens", "of", "mass", "liquidity", "ESS", "marginal"],
        (
            [
                part.topic,
                *_bought(part.selected_documents, part.candidate_documents),
                *_bought(part.selected_tokens, part.candidate_tokens),
                f"{part.mass:.4f}",
                f"{part.liquidity:.4g}",
                f"{part.effective_sample_size:.1f}",
                _log_price(part.marginal_log_price_per_token),
            ]
            for part in info.topics
        ),
    )
    _print_section(
        "Bought by source",
        ["source", "documents", "of", "tokens", "of"],
        (
            [
                part.source,
                *_bought(part.selected_documents, part.candidate_documents),
                *_bought(part.selected_tokens, part.candidate_tokens),
            ]
            for part in info.sources
        ),
    )
    _print_section(
        "Signals",
        ["signal", "scope", "revision", "weight", "seconds", "CPU seconds"],
        (
            [
                signal.signal,
                signal.scope,
                str(signal.revision),
                f"{signal.weight:.4f}",
                f"{signal.seconds:.1f}",
                f"{signal.cpu_seconds:.1f}",
            ]
            for signal in info.signals
        ),
    )
    _print_section(
        "Contracts",
        ["contract", "version", "result", "rules", "failed warnings"],
        (
            [
                result.contract,
                result.version,
                "passed" if result.success else "failed",
                str(result.rules),
                str(result.failed_warnings),
            ]
            for result in info.contracts
        ),
    )
    _print_section(
        "Never for sale",
        ["reason", "rows"],
        ([reason, f"{rows:,}"] for reason, rows in sorted(info.dropped.items())),
    )


def _headlines(info: ManifestInfo, location: str) -> list[tuple[str, str]]:
    parent = f"version {info.parent.version}" if info.parent else "none"
    limit, unit = info.budget.limit_tokens, "tokens"
    spent = info.spent.tokens
    if limit is None:
        limit, unit, spent = info.budget.limit_documents or 0, "documents", info.spent.documents
    share = f" ({info.budget.amount:g} of the snapshot)" if info.budget.kind == "share" else ""
    return [
        ("manifest", f"{info.pool} version {info.version}"),
        ("manifest id", info.manifest_id),
        ("where", location),
        ("created", f"{info.created_at:%Y-%m-%d %H:%M:%S %Z} by run {info.run_id}"),
        ("code", f"databourse {info.databourse_version}, config {info.config_digest}"),
        ("parent", parent),
        ("snapshot", info.snapshot_id),
        ("encoder", info.encoder_id or "none"),
        ("tokenizer", f"{info.tokenizer.name} ({info.tokenizer.id})"),
        ("for sale", f"{info.candidates.documents:,} documents, {info.candidates.tokens:,} tokens"),
        ("bought", f"{info.spent.documents:,} documents, {info.spent.tokens:,} tokens"),
        ("budget", f"spent {spent:,} of {limit:,} {unit}{share}"),
        ("marginal price", f"{_log_price(info.marginal_log_price_per_token)} (log, per token)"),
        ("length bias", f"{info.market.length_bias:g}"),
        ("decontamination", "not run" if info.decontamination is None else "run"),
    ]


def _bought(selected: int, candidates: int) -> tuple[str, str]:
    return f"{selected:,}", f"{candidates:,}"


def _log_price(value: float | None) -> str:
    return "none" if value is None else f"{value:.4f}"


def _print_section(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    rows = list(rows)
    typer.echo(f"\n{title}" + ("" if rows else ": none"))
    if rows:
        _print_table(columns, rows)


def _print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name, cells in zip(columns, zip(*rows, strict=True), strict=True):
        table.add_column(name, justify="right" if _are_numbers(cells) else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    _console().print(table)


def _are_numbers(cells: Sequence[str]) -> bool:
    return all(not cell.strip("0123456789,.-+e") for cell in cells if cell != "none")


def _console() -> Console:
    from rich.console import Console

    width = None if sys.stdout.isatty() else _WIDTH_OF_FILES
    return Console(file=sys.stdout, width=width, markup=False, highlight=False, emoji=False)
