"""The values of every attribution that a finished refresh has what it takes for, and the report."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from databourse.attribution.causal_values import (
    DAMPINGS,
    curvature_values,
    directions_megabytes,
    trak_values,
)
from databourse.attribution.linear_values import gradient_dot_values, influence_values
from databourse.attribution.page import render_page
from databourse.attribution.results import AttributionResults, record
from databourse.attribution.retraining import CausalRetraining, LinearRetraining
from databourse.attribution.scoring import (
    Attribution,
    Kind,
    noise_ceiling,
    scored_attributions,
)
from databourse.attribution.text_similarity import tfidf_similarity
from databourse.influence.curvature import Curvature
from databourse.influence.layers import layer_shapes, tracked_layers
from databourse.influence.lds import FloatArray
from databourse.influence.pool_gradients import Kernel
from databourse.influence.transformer import CurvatureKind, fit_curvature
from databourse.progress import ProgressReport
from databourse.refresh.attribution import AttributionPlan, stored_bank
from databourse.refresh.gradient_features import stored_gradients
from databourse.refresh.influence_measuring import influence_settings
from databourse.refresh.language_models import model_ids, open_model, trains_reference
from databourse.seeds import stage_rng, stage_seed
from databourse.warehouse.store import Warehouse

REPORTS_FOLDER = "reports"
PAGE_FILE = "report.html"
RESULTS_FILE = "results.json"
BASELINE = "tfidf"
_MOST_MEGABYTES = 1_000.0  # of the directions of all examples, under one model
_KINDS: tuple[CurvatureKind, ...] = ("ekfac", "kfac", "identity")


@dataclass(frozen=True)
class WrittenReport:
    """Where a report is."""

    page: Path
    results: Path


def attribution_results(
    warehouse: Warehouse, plan: AttributionPlan, *, advance: ProgressReport
) -> AttributionResults:
    """Return the LDS of every attribution that can be had, on the trained bank of a plan.

    Raises:
        ConfigError: a training is missing, or a model cannot be used on this machine.
        IntegrityError: a file is damaged.
    """
    seed = plan.of_past.config.seed
    bank = stored_bank(warehouse, plan)
    left_out: dict[str, str] = {}
    if isinstance(plan.retraining, LinearRetraining):
        attributions = _linear_attributions(plan, plan.retraining)
    else:
        attributions = _causal_attributions(warehouse, plan, left_out, advance=advance)
    attributions += _common(plan)
    first = next(iter(attributions[0].variants.values()))
    rng = stage_rng(seed, "attribution control")
    attributions.append(
        Attribution(
            name="random",
            kind="control",
            says=f"values of {attributions[0].name}, documents shuffled",
            variants={"": first[rng.permutation(len(first))]},
        )
    )
    scored = scored_attributions(
        attributions,
        bank,
        rng=stage_rng(seed, "attribution bootstrap"),
        baseline=BASELINE,
    )
    return AttributionResults(
        pool=plan.of_past.pool,
        bank_id=plan.bank_id,
        run_id=plan.past.run_id,
        proxy=plan.choice.proxy,
        proxy_id=plan.retraining.proxy_id,
        proxy_says=_proxy_says(plan),
        output_says=_output_says(plan),
        examples={each.name: len(each.texts) for each in plan.sets},
        scored=scored,
        ceiling=noise_ceiling(bank, rng=stage_rng(seed, "attribution ceiling")),
        is_drawn=plan.retraining.draws,
        baseline=BASELINE,
        left_out=left_out,
    )


def report_progress_total(plan: AttributionPlan) -> int:
    """Return what the progress of valuing adds up to: documents, once per model."""
    if plan.choice.proxy == "linear":
        return 0
    return len(plan.texts) * max(1, len(plan.past.ids.models.trained))


def write_report(warehouse: Warehouse, results: AttributionResults) -> WrittenReport:
    """Write the page and the results of a bank, in place of earlier ones of the same bank."""
    folder = warehouse.root / REPORTS_FOLDER / f"attribution-{results.bank_id}"
    folder.mkdir(parents=True, exist_ok=True)
    written = WrittenReport(folder / PAGE_FILE, folder / RESULTS_FILE)
    text = json.dumps(record(results), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    for path, content in ((written.page, render_page(results)), (written.results, text)):
        staging = path.with_name(path.name + ".staging")
        staging.write_text(content, encoding="utf-8")
        staging.replace(path)
    return written


def _linear_attributions(plan: AttributionPlan, proxy: LinearRetraining) -> list[Attribution]:
    fitted = plan.fitted
    if fitted is None:
        raise AssertionError("the linear proxy of the whole pool is part of the plan")
    labels, of_examples = proxy.label_index, proxy.example_labels
    cosines = _cosines(proxy.embeddings, proxy.example_embeddings)
    same = labels[:, np.newaxis] == of_examples
    tfidf = _tfidf(plan)
    return [
        _single(
            "influence",
            "attribution",
            "v^T H^-1 g of the linear proxy, exactly",
            influence_values(
                fitted,
                proxy.embeddings,
                label_index=labels,
                example_embeddings=proxy.example_embeddings,
                example_labels=of_examples,
            ),
        ),
        _single(
            "gradient_dot",
            "attribution",
            "v^T g: the product of two gradients of the linear proxy",
            gradient_dot_values(
                fitted,
                proxy.embeddings,
                label_index=labels,
                example_embeddings=proxy.example_embeddings,
                example_labels=of_examples,
            ),
        ),
        _single("embedding", "baseline", "cosine of two embeddings", cosines),
        _single(
            "embedding_same_label",
            "baseline",
            "cosine of two embeddings where labels are equal, else 0",
            cosines * same,
        ),
        _single(
            "tfidf_same_label",
            "baseline",
            "cosine of two tf-idf vectors where labels are equal, else 0",
            tfidf * same,
        ),
    ]


def _causal_attributions(
    warehouse: Warehouse,
    plan: AttributionPlan,
    left_out: dict[str, str],
    *,
    advance: ProgressReport,
) -> list[Attribution]:
    """Return what language models of the refresh say; note what cannot be had."""
    found: list[Attribution] = []
    models = plan.past.ids.models
    if models.gradients:
        checkpoints = stored_gradients(warehouse, plan.of_past, models.gradients)
        kernels: dict[str, Kernel] = {"trak": "whole"}
        if all(each.parts for each in checkpoints):
            kernels["trak_layers"] = "layers"
        for name, kernel in kernels.items():
            by_damping = trak_values(
                checkpoints, plan.positions, n_documents=len(plan.texts), kernel=kernel
            )
            says = f"projected gradients of {len(checkpoints)} language models of the refresh"
            found.append(
                Attribution(
                    name=name,
                    kind="attribution",
                    says=says + (", a kernel for each layer" if kernel == "layers" else ""),
                    variants={f"damping {each:g}": values for each, values in by_damping.items()},
                )
            )
    else:
        left_out["trak"] = "the refresh kept no gradients; add the signal trak and refresh"
    if trains_reference(plan.of_past) and not models.trained:
        reason = "the refresh trained no language model; add the signal trak or quad and refresh"
        left_out.update(dict.fromkeys(("ekfac", "kfac", "gradient_dot"), reason))
        return found
    return found + _by_curvature(plan, left_out, advance=advance)


def _by_curvature(
    plan: AttributionPlan, left_out: dict[str, str], *, advance: ProgressReport
) -> list[Attribution]:
    run, trained = plan.of_past, plan.past.ids.models.trained
    settings = influence_settings(run.config.influence)
    n_models = len(model_ids(run, trained))
    sums: dict[tuple[str, float], FloatArray] = {}
    for fold in range(n_models):
        model = open_model(run, trained, fold)
        shapes = layer_shapes(model, tracked_layers(model, settings.layers))
        size = directions_megabytes(
            sum(rows * columns for rows, columns in shapes.values()),
            n_examples=sum(len(each.texts) for each in plan.sets),
            n_settings=2 * len(DAMPINGS) + 1,
        )
        if size > _MOST_MEGABYTES:
            reason = (
                f"gradients of all examples take {size:,.0f} MB, more than {_MOST_MEGABYTES:,.0f}; "
                "ask for fewer with --targets-per-set"
            )
            left_out.update(dict.fromkeys(("ekfac", "kfac", "gradient_dot"), reason))
            return []
        found = curvature_values(
            model,
            plan.texts,
            examples=_example_parts(plan),
            curvatures=_curvatures(plan, fold),
            settings=settings,
            threads=run.config.compute.threads,
            progress=advance,
        )
        for key, values in found.items():
            sums[key] = sums[key] + values if key in sums else values
    names = {"identity": "gradient_dot"}
    says = {
        "ekfac": "EK-FAC of the language models",
        "kfac": "K-FAC of the language models",
        "identity": "the product of two gradients",
    }
    return [
        Attribution(
            name=names.get(kind, kind),
            kind="attribution",
            says=f"{says[kind]}, layers: {settings.layers}",
            variants={
                "" if kind == "identity" else f"damping {damping:g}": values / n_models
                for (own, damping), values in sums.items()
                if own == kind
            },
        )
        for kind in _KINDS
    ]


def _curvatures(plan: AttributionPlan, fold: int) -> dict[str, tuple[Curvature, tuple[float, ...]]]:
    """Return each curvature of a model over a sample of the pool, and its dampings."""
    run = plan.of_past
    config = run.config.influence
    model = open_model(run, plan.past.ids.models.trained, fold)
    sample = plan.texts[: config.sample_documents]  # of the smallest ids: they are digests
    return {
        kind: (
            fit_curvature(
                model,
                sample,
                settings=replace(influence_settings(config), curvature=kind),
                seed=stage_seed(run.config.seed, "labels of the curvature", str(fold)),
                threads=run.config.compute.threads,
            ),
            (0.0,) if kind == "identity" else DAMPINGS,
        )
        for kind in _KINDS
    }


def _example_parts(plan: AttributionPlan) -> tuple[list[str], list[int]]:
    """Return the texts of all examples and where their prompts end."""
    texts = [text for each in plan.sets for text in each.texts]
    return texts, [int(cut) for each in plan.sets for cut in each.prompt_characters]


def _single(name: str, kind: Kind, says: str, values: FloatArray) -> Attribution:
    """Return an attribution with nothing to choose."""
    return Attribution(name=name, kind=kind, says=says, variants={"": values})


def _common(plan: AttributionPlan) -> list[Attribution]:
    """Return what needs no model."""
    tokens = plan.documents["tokens"].to_numpy().astype(np.float64)
    return [
        _single(BASELINE, "baseline", "cosine of two tf-idf vectors", _tfidf(plan)),
        _single("length", "control", "tokens of the document", tokens),
    ]


def _tfidf(plan: AttributionPlan) -> FloatArray:
    return tfidf_similarity(plan.texts, [text for each in plan.sets for text in each.texts])


def _cosines(
    rows: np.ndarray[tuple[int, ...], np.dtype[np.float32]],
    others: np.ndarray[tuple[int, ...], np.dtype[np.float32]],
) -> FloatArray:
    """Return inner products of unit rows."""
    cosines: FloatArray = rows.astype(np.float64) @ others.astype(np.float64).T
    return cosines


def _proxy_says(plan: AttributionPlan) -> str:
    if isinstance(plan.retraining, CausalRetraining):
        settings = plan.retraining.settings
        return (
            f"A causal transformer of {settings.layers} layers and width {settings.width}, from "
            f"scratch for {plan.retraining.training_tokens:,} tokens"
        )
    return f"Softmax regression on embeddings, penalty {plan.retraining.proxy_id.split('-')[-1]}"


def _output_says(plan: AttributionPlan) -> str:
    if plan.choice.proxy == "linear":
        return "Foretold is the loss of the label of each example"
    return "Foretold is the mean loss per token of each example, of its completion given a prompt"
