"""`databourse price`: what other settings of the market would buy, from stored signals."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from flows.tables import print_section, print_table

if TYPE_CHECKING:
    from databourse.config import RefreshConfig
    from databourse.what_if.comparison import GroupShift, Mover
    from databourse.what_if.session import WhatIf

_SHOWN_GROUPS = 10
_SHOWN_DOCUMENTS = 5


def price(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="The YAML config.")],
    *,
    budget_tokens: Annotated[
        int | None, typer.Option(min=1, help="Budget in tokens.", show_default=False)
    ] = None,
    budget_documents: Annotated[
        int | None, typer.Option(min=1, help="Budget in documents.", show_default=False)
    ] = None,
    budget_share: Annotated[
        float | None, typer.Option(help="Budget as a share of the tokens.", show_default=False)
    ] = None,
    liquidity: Annotated[
        float | None, typer.Option(help="LMSR b of every topic, in shares.", show_default=False)
    ] = None,
    effective_share: Annotated[
        float | None,
        typer.Option(help="ESS of prices / documents of every topic.", show_default=False),
    ] = None,
    length_bias: Annotated[
        float | None, typer.Option(help="Exponent of the length.", show_default=False)
    ] = None,
    topic_mass: Annotated[
        str | None, typer.Option(help="proportional or balanced.", show_default=False)
    ] = None,
    weight: Annotated[
        list[str] | None,
        typer.Option(metavar="SIGNAL=W", help="Weight of one trader; others keep theirs."),
    ] = None,
    without: Annotated[
        list[str] | None, typer.Option(metavar="SIGNAL", help="Leave this signal out.")
    ] = None,
    method: Annotated[
        str | None, typer.Option(help="greedy or sample.", show_default=False)
    ] = None,
    rule: Annotated[str | None, typer.Option(help="skip or stop.", show_default=False)] = None,
    diversity: Annotated[
        float | None, typer.Option(help="Log price that novelty is worth.", show_default=False)
    ] = None,
    topic_floor: Annotated[
        list[str] | None,
        typer.Option(metavar="PHI or NAME=SHARE", help="Part of an even split, or by name."),
    ] = None,
    topic_cap: Annotated[
        list[str] | None,
        typer.Option(metavar="M or NAME=SHARE", help="Multiple of an even split, or by name."),
    ] = None,
    source_floor: Annotated[
        list[str] | None,
        typer.Option(metavar="PHI or NAME=SHARE", help="Part of an even split, or by name."),
    ] = None,
    source_cap: Annotated[
        list[str] | None,
        typer.Option(metavar="M or NAME=SHARE", help="Multiple of an even split, or by name."),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Any other key of the config."),
    ] = None,
    version: Annotated[
        int | None,
        typer.Option(
            "--version", min=1, help="Published version to start from.", show_default="latest"
        ),
    ] = None,
    sweep: Annotated[
        bool, typer.Option("--sweep", help="Also try smaller and larger budgets.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object on stdout.")
    ] = False,
) -> None:
    """Show what other settings would buy, and how that differs from what is published.

    Signals are read as they were stored by the refresh that published the version; nothing is
    scored and nothing is written.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before numpy: novelty is slower with more
    from databourse.what_if.settings import Changes, changed_config

    changes = Changes(
        budget=_one_of(
            "budget", tokens=budget_tokens, documents=budget_documents, share=budget_share
        ),
        liquidity=_one_of("liquidity", shares=liquidity, effective_share=effective_share),
        length_bias=length_bias,
        topic_mass=topic_mass,
        method=method,
        rule=rule,
        diversity=diversity,
        limits=_limits(
            topic_floor=topic_floor,
            topic_cap=topic_cap,
            source_floor=source_floor,
            source_cap=source_cap,
        ),
        weights=_by_name("--weight", weight or []),
        without=tuple(without or ()),
    )
    tried = changed_config(config, overrides or [], changes)
    _answer(config, tried, version=version, budgets="sweep" if sweep else "one", as_json=as_json)


def _answer(
    config_path: Path,
    config: RefreshConfig,
    *,
    version: int | None,
    budgets: Literal["one", "sweep"],
    as_json: bool,
) -> None:
    from databourse.what_if.record import record
    from databourse.what_if.session import what_if

    root = config_path.resolve().parent
    answer = what_if(config, root, version=version, budgets=budgets)
    if as_json:
        typer.echo(json.dumps(record(answer), indent=2, ensure_ascii=False, allow_nan=False))
    else:
        _print(answer)


def _one_of(what: str, **choices: float | None) -> tuple[str, float] | None:
    given = [(kind, amount) for kind, amount in choices.items() if amount is not None]
    if len(given) > 1:
        raise typer.BadParameter(f"give one {what}: {' or '.join(kind for kind, _ in given)}")
    return given[0] if given else None


def _limits(**options: Sequence[str] | None) -> dict[str, float | dict[str, float]]:
    return {
        name: _limit(f"--{name.replace('_', '-')}", values)
        for name, values in options.items()
        if values
    }


def _limit(option: str, values: Sequence[str]) -> float | dict[str, float]:
    if len(values) == 1 and "=" not in values[0]:
        return _number(option, values[0])
    return _by_name(option, values)


def _by_name(option: str, values: Sequence[str]) -> dict[str, float]:
    pairs: dict[str, float] = {}
    for value in values:
        name, separator, number = value.rpartition("=")
        if not separator or not name:
            raise typer.BadParameter(f"{option} takes NAME=NUMBER, got {value!r}")
        if name in pairs:
            raise typer.BadParameter(f"{option} names {name!r} twice")
        pairs[name] = _number(option, number)
    return pairs


def _number(option: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise typer.BadParameter(f"{option} takes a number, got {text!r}") from None


def _print(answer: WhatIf) -> None:
    from databourse.what_if.record import first_movers

    for name, text in _headlines(answer):
        typer.echo(f"{name:<18}{text}")
    _print_shifts("topic", answer.comparison.topics)
    if len(answer.comparison.sources) > 1:
        _print_shifts("source", answer.comparison.sources)
    entered, left = first_movers(answer, n_documents=_SHOWN_DOCUMENTS)
    _print_movers("Enter, the dearest first", entered, len(answer.comparison.entered))
    _print_movers("Leave, the cheapest first", left, len(answer.comparison.left))
    if answer.sweep:
        from databourse.reports.sweep import TEXT_COLUMNS, sweep_cells

        typer.echo("\nOther budgets")
        print_table(TEXT_COLUMNS, sweep_cells(answer.sweep, budget=answer.session.limit))


def _headlines(answer: WhatIf) -> list[tuple[str, str]]:
    from databourse.what_if.record import utility

    info, session, diff = answer.manifest.info, answer.session, answer.comparison
    before, after = diff.before, diff.after
    summary = session.cleared.summary
    lines = [
        ("published", f"{info.pool} version {info.version} (manifest {info.manifest_id[:12]})"),
        *(
            ("instead of", f"{key}: {_shown(was)} -> {_shown(tried)}")
            for key, (was, tried) in answer.changed.items()
        ),
    ]
    if not answer.changed:
        lines.append(("instead of", "nothing: these are the published settings"))
    if answer.ignored:
        lines.append(("needs a refresh", f"{', '.join(answer.ignored)} (no effect here)"))
    limit = f"{session.limit:,} {'documents' if session.budget_kind == 'documents' else 'tokens'}"
    marginal = session.purchase.marginal_log_price_per_token
    return [
        *lines,
        ("documents", f"{before.documents:,} -> {after.documents:,} of {summary.n_documents:,}"),
        ("tokens", f"{before.tokens:,} -> {after.tokens:,} (budget: {limit})"),
        ("enter", f"{diff.entered.size:,} documents, {after.tokens - diff.kept.tokens:,} tokens"),
        ("leave", f"{diff.left.size:,} documents, {before.tokens - diff.kept.tokens:,} tokens"),
        ("stay", f"{diff.kept.documents:,} documents ({diff.overlap:.1%} of all in either)"),
        (
            "value",
            (
                f"{utility(answer, published=True):.2%} -> {utility(answer, published=False):.2%} "
                "of the market at the new prices"
            ),
        ),
        (
            "marginal price",
            (
                f"{_log_price(info.marginal_log_price_per_token)} -> {_log_price(marginal)} "
                "(log, per token)"
            ),
        ),
        (
            "market",
            f"ESS {summary.pool_effective_sample_size():,.0f} of {summary.n_documents:,} documents",
        ),
    ]


def _print_shifts(kind: str, shifts: Sequence[GroupShift]) -> None:
    moved = [each for each in shifts if each.tokens_before != each.tokens_after]
    title = f"Tokens by {kind}"
    if len(moved) > _SHOWN_GROUPS:
        title += f", the {_SHOWN_GROUPS} of {len(moved)} that change most"
    print_section(
        title,
        [kind, "documents", "then", "tokens", "then", "change"],
        (
            [
                each.name,
                f"{each.documents_before:,}",
                f"{each.documents_after:,}",
                f"{each.tokens_before:,}",
                f"{each.tokens_after:,}",
                f"{each.tokens_after - each.tokens_before:+,}",
            ]
            for each in moved[:_SHOWN_GROUPS]
        ),
    )


def _print_movers(title: str, movers: Sequence[Mover], n_all: int) -> None:
    print_section(
        f"{title} ({len(movers)} of {n_all:,})" if movers else title,
        ["document", "topic", "source", "tokens", "rank", "log price per token"],
        (
            [
                each.document_id,
                each.topic,
                each.source,
                f"{each.tokens:,}",
                f"{each.price_rank:,}",
                f"{each.log_price_per_token:.4f}",
            ]
            for each in movers
        ),
    )


def _shown(value: object) -> str:
    return "not set" if value is None else json.dumps(value).strip('"')


def _log_price(value: float | None) -> str:
    return "none" if value is None else f"{value:.4f}"
