"""`databourse manifest`: list, show and verify published manifests; needs the base install only."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.manifest_diff_command import diff
from flows.manifest_export_command import export
from flows.manifest_mirror_command import mirror
from flows.manifest_sign_command import public_key_option, sign
from flows.manifest_withdraw_command import withdraw
from flows.tables import print_section, print_table

if TYPE_CHECKING:
    from databourse.manifests import ManifestInfo, PoolListing, VersionListing, Withdrawal
    from databourse.manifests.model import SignalRecord, SourceTotals, TopicTotals

manifest_app = typer.Typer(
    name="manifest",
    help="List, read, verify, compare, export, withdraw, sign and mirror published manifests.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
manifest_app.command("diff")(diff)
manifest_app.command("export")(export)
manifest_app.command("sign")(sign)
manifest_app.command("mirror")(mirror)
manifest_app.command("withdraw")(withdraw)

PathArgument = Annotated[
    str, typer.Argument(metavar="PATH", help="Folder of a pool or of one version; a path or URI.")
]
VersionOption = Annotated[
    int | None,
    typer.Option("--version", min=1, help="Which version of the pool.", show_default="latest"),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object instead.")]
WithdrawnOption = Annotated[
    bool, typer.Option("--allow-withdrawn", help="Accept a version that was withdrawn.")
]


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
    print_table(
        ["pool", "version", "state", "documents", "tokens", "manifest id", "created"],
        [_listing_row(pool.pool, version) for pool in pools for version in pool.versions],
    )
    for pool in pools:
        for problem in (pool.problem, *(version.problem for version in pool.versions)):
            if problem:
                typer.echo(problem, err=True)
        for each in pool.versions:
            if each.withdrawal is not None:
                typer.echo(withdrawn_text(each.withdrawal), err=True)


@manifest_app.command("show")
def show_command(
    path: PathArgument,
    *,
    version: VersionOption = None,
    allow_withdrawn: WithdrawnOption = False,
    as_json: JsonOption = False,
) -> None:
    """Print what a manifest holds: what was bought, under which budget, by which signals.

    Example: databourse manifest show ./manifests/ag_news --version 2
    """
    from databourse.manifests import open_manifest

    manifest = open_manifest(
        path, "latest" if version is None else version, allow_withdrawn=allow_withdrawn
    )
    if manifest.withdrawal is not None:
        typer.echo(withdrawn_text(manifest.withdrawal), err=True)
    if as_json:
        _print_json(manifest.info.model_dump(mode="json"))
        return
    _print_summary(manifest.info, manifest.location)


@manifest_app.command("verify")
def verify_command(
    path: PathArgument,
    *,
    version: VersionOption = None,
    require_signature: Annotated[
        bool,
        typer.Option(
            "--require-signature",
            help="It must be signed by --public-key, or by $DATABOURSE_PUBLIC_KEY.",
        ),
    ] = False,
    public_key: Annotated[
        Path | None,
        typer.Option("--public-key", help="PEM of who must have signed; implies the above."),
    ] = None,
    allow_withdrawn: WithdrawnOption = False,
    as_json: JsonOption = False,
) -> None:
    """Check every byte and every total of a manifest; exit code 1 names each bad file.

    A version that was withdrawn, or has no signature where one is required, gives exit code 1 too.

    Example: databourse manifest verify s3://bucket/manifests/ag_news
    """
    from databourse.manifests import verify

    key = public_key_option(public_key, is_required=require_signature)
    report = verify(path, version="latest" if version is None else version, public_key=key)
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
                "signature": None if key is None else report.ok,
                "withdrawn": report.withdrawal.model_dump(mode="json")
                if report.withdrawal
                else None,
            }
        )
    elif info is not None and report.ok:
        typer.echo(
            f"ok: {info.pool} version {info.version}, {info.spent.documents:,} documents, "
            f"{info.spent.tokens:,} tokens, manifest id {info.manifest_id}"
            + (", signed" if key is not None else "")
        )
    else:
        for problem in report.problems:
            typer.echo(f"{problem.file}: {problem.what}")
        what = "is damaged; copy it again" if key is None else "is damaged, or not signed so"
        typer.echo(f"the manifest at {report.location} {what}", err=True)
    if report.withdrawal is not None:
        typer.echo(withdrawn_text(report.withdrawal), err=True)
    if not report.ok or (report.withdrawal is not None and not allow_withdrawn):
        raise typer.Exit(1)


def withdrawn_text(record: Withdrawal) -> str:
    """Return the line that says that a version was withdrawn, and why."""
    return (
        f"version {record.version} was withdrawn on {record.withdrawn_at:%Y-%m-%d}: {record.reason}"
    )


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
        "withdrawn": listing.withdrawal.reason if listing.withdrawal else None,
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
    print_section(
        "Bought by topic",
        ["topic", "documents", "of", "tokens", "of", "mass", "liquidity", "ESS", "marginal"]
        + (["floor", "cap"] if _has_limits(info.topics) else []),
        (
            [
                part.topic,
                *_bought(part.selected_documents, part.candidate_documents),
                *_bought(part.selected_tokens, part.candidate_tokens),
                f"{part.mass:.4f}",
                f"{part.liquidity:.4g}",
                f"{part.effective_sample_size:.1f}",
                _log_price(part.marginal_log_price_per_token),
                *(_limits(part) if _has_limits(info.topics) else ()),
            ]
            for part in info.topics
        ),
    )
    print_section(
        "Bought by source",
        ["source", "documents", "of", "tokens", "of"]
        + (["floor", "cap"] if _has_limits(info.sources) else []),
        (
            [
                part.source,
                *_bought(part.selected_documents, part.candidate_documents),
                *_bought(part.selected_tokens, part.candidate_tokens),
                *(_limits(part) if _has_limits(info.sources) else ()),
            ]
            for part in info.sources
        ),
    )
    print_section(
        "Signals",
        ["signal", "scope", "revision", "weight", "seconds", "CPU s", "GPU s", "model calls"],
        [
            *(
                [
                    signal.signal,
                    signal.scope,
                    str(signal.revision),
                    f"{signal.weight:.4f}",
                    *_costs([signal]),
                ]
                for signal in info.signals
            ),
            *([["together", "", "", "", *_costs(info.signals)]] if len(info.signals) > 1 else []),
        ],
    )
    proof = info.decontamination
    if proof is not None:
        # planted leaks are among the headlines
        _print_decontamination(proof.model_dump(mode="json", exclude={"self_test"}))
    print_section(
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
    print_section(
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
        ("method", _method(info)),
        ("signed", f"by key {info.signer}" if info.signer else "not when it was published"),
        ("decontamination", _decontamination(info)),
        ("planted leaks", _self_test(info)),
    ]


def _costs(signals: Sequence[SignalRecord]) -> tuple[str, str, str, str]:
    """Return what signals took, all of them together."""
    return (
        f"{sum(signal.seconds for signal in signals):,.1f}",
        f"{sum(signal.cpu_seconds for signal in signals):,.1f}",
        f"{sum(signal.gpu_seconds for signal in signals):,.1f}",
        f"{sum(signal.model_calls for signal in signals):,}",
    )


def _print_decontamination(proof: Mapping[str, object]) -> None:
    """Print what the pool was compared with and how, whatever further facts the proof has."""
    sets = proof.get("sets")
    if not isinstance(sets, list):
        return
    print_section(
        "Compared with, so that the pool gives away no test",
        ["set", "examples", "found in the pool", "documents dropped"],
        (
            [
                str(each.get("name")),
                *(
                    f"{each.get(key, 0):,}"
                    for key in ("examples", "examples_found", "documents_dropped")
                ),
            ]
            for each in sets
            if isinstance(each, dict)
        ),
    )
    facts = {key: value for key, value in proof.items() if key != "sets"}
    for name, value in _flat_facts(facts):
        typer.echo(f"  {name}: {value}")


def _flat_facts(facts: Mapping[str, object], before: str = "") -> list[tuple[str, str]]:
    found = []
    for key, value in facts.items():
        name = f"{before}{key.replace('_', ' ')}"
        if isinstance(value, dict):
            found += _flat_facts(value, f"{name}, ")
        else:
            found.append((name, "none" if value is None else str(value)))
    return found


def _decontamination(info: ManifestInfo) -> str:
    """Return what the pool was compared with, and how much of it fell."""
    proof = info.decontamination
    if proof is None:
        return "not run"
    names = ", ".join(each.name for each in proof.sets)
    return f"{proof.dropped:,} of {proof.documents:,} documents dropped against {names}"


def _self_test(info: ManifestInfo) -> str:
    """Return how many planted leaks of each kind the rule of the run found."""
    proof = info.decontamination
    if proof is None or proof.self_test is None:
        return "none planted"
    found = (
        f"{each.kind.replace('_', ' ')} {each.found:,} of {each.leaks:,}"
        for each in proof.self_test.kinds
    )
    return f"found: {', '.join(found)}"


def _has_limits(parts: Sequence[TopicTotals] | Sequence[SourceTotals]) -> bool:
    return any(part.floor is not None or part.cap is not None for part in parts)


def _limits(part: TopicTotals | SourceTotals) -> tuple[str, str]:
    floor, cap = part.floor, part.cap
    return "none" if floor is None else f"{floor:,}", "none" if cap is None else f"{cap:,}"


def _bought(selected: int, candidates: int) -> tuple[str, str]:
    return f"{selected:,}", f"{candidates:,}"


def _method(info: ManifestInfo) -> str:
    chosen = info.selection
    if chosen is None:
        return "greedy, skip"
    if chosen.method == "sample":
        return "sample in proportion to the price per token"
    extras = [
        *(["best single document first"] if chosen.best_single else []),
        *([f"diversity {chosen.diversity:g}"] if chosen.diversity else []),
    ]
    return ", ".join(["greedy", chosen.rule, *extras])


def _log_price(value: float | None) -> str:
    return "none" if value is None else f"{value:.4f}"
