"""What is retrained on subsets of a refreshed pool, as its config and its tables have it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from databourse.attribution.retraining import CausalRetraining, LinearRetraining
from databourse.digests import document_id
from databourse.errors import ConfigError
from databourse.influence.softmax_regression import SoftmaxRegression, fit_proxy
from databourse.language_models.tokenizer import train_tokenizer
from databourse.progress import silent
from databourse.refresh.context import RunContext
from databourse.refresh.embedding import embed_texts, snapshot_vectors, vectors_of
from databourse.refresh.past_runs import PastRun
from databourse.refresh.reference_model import training_settings
from databourse.refresh.settings import configured_signals, encoder_of
from databourse.signals.influence import InfluenceParameters
from databourse.signals.labels import label_codes
from databourse.targets import TargetSet
from databourse.warehouse.store import Warehouse


def linear_retraining(
    warehouse: Warehouse,
    of_past: RunContext,
    past: PastRun,
    documents: pa.Table,
    sets: Sequence[TargetSet],
) -> tuple[LinearRetraining, SoftmaxRegression]:
    """Return the linear proxy, and the one that is fitted to the whole pool."""
    labels = np.array(documents["label"].to_pylist(), dtype=np.object_)
    codes = label_codes(labels)
    n_classes = int(codes.max()) + 1
    code_of = {str(label): int(code) for label, code in zip(labels, codes, strict=True)}
    vectors = snapshot_vectors(
        warehouse, snapshot_id=past.ids.snapshot_id, encoder_id=past.ids.encoder_id
    )
    l2 = _penalty(of_past)
    fitted = fit_proxy(vectors, codes, n_classes=n_classes, l2=l2)
    retraining = LinearRetraining(
        embeddings=vectors,
        label_index=codes,
        example_embeddings=_example_vectors(warehouse, of_past, past, sets),
        example_labels=np.array(
            [code_of[str(label)] for each in sets for label in each.labels], dtype=np.int64
        ),
        n_classes=n_classes,
        l2=l2,
        start=fitted.coefficients,
    )
    return retraining, fitted


def _penalty(run: RunContext) -> float:
    """Return the penalty of signal influence, where the config has it, or its default."""
    for each in configured_signals(run.config):
        if isinstance(each.parameters, InfluenceParameters):
            return each.parameters.l2
    return InfluenceParameters().l2


def _example_vectors(
    warehouse: Warehouse, run: RunContext, past: PastRun, sets: Sequence[TargetSet]
) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Return the vectors of examples, those that are missing embedded now."""
    ids = [document_id(text) for each in sets for text in each.texts]
    wanted = sorted(set(ids))
    known = vectors_of(warehouse, pa.array(wanted), encoder_id=past.ids.encoder_id)
    missing = sorted(set(wanted) - set(known["document_id"].to_pylist()))
    if missing:
        encoder = encoder_of(run)
        if encoder.encoder_id != past.ids.encoder_id:
            raise ConfigError(
                f"the refresh embedded documents by {past.ids.encoder_id}, the config now names "
                f"{encoder.encoder_id}; refresh the pool"
            )
        embed_texts(warehouse, run, encoder, pa.array(missing), advance=silent)
        known = vectors_of(warehouse, pa.array(wanted), encoder_id=past.ids.encoder_id)
    row_of = {each: row for row, each in enumerate(known["document_id"].to_pylist())}
    rows = known["vector"].combine_chunks().flatten().to_numpy().reshape(len(row_of), -1)
    return np.ascontiguousarray(rows[[row_of[each] for each in ids]])


def causal_retraining(
    run: RunContext,
    texts: Sequence[str],
    sets: Sequence[TargetSet],
    *,
    share: float,
    epochs: float,
    batch_rows: int | None = None,
) -> CausalRetraining:
    """Return the transformer of the config's reference, trained for a share of the pool's tokens.

    Args:
        run: whose config says what is trained.
        texts: of the pool.
        sets: examples.
        share: of the pool's tokens that a subset has, in (0, 1].
        epochs: times that a subset is read, > 0.
        batch_rows: of a step; None for those of the refresh's and the comparison's models. Larger
            ones train faster and, on few tokens, learn less.
    """
    reference = run.config.language_model.reference
    tokenizer = train_tokenizer(texts, vocabulary_size=reference.vocabulary)
    n_tokens = sum(len(each) + 1 for each in tokenizer.encode(texts))
    settings = training_settings(reference)
    if batch_rows is not None:
        settings = dataclasses.replace(settings, batch_rows=batch_rows, micro_rows=batch_rows)
    asked = round(epochs * share * n_tokens)
    examples = [
        (text[:cut], text[cut:])
        for each in sets
        for text, cut in zip(each.texts, each.prompt_characters.tolist(), strict=True)
    ]
    return CausalRetraining(
        texts=texts,
        prompts=[prompt for prompt, _ in examples],
        completions=[completion for _, completion in examples],
        tokenizer=tokenizer,
        settings=settings,
        training_tokens=max(1, min(reference.most_tokens, asked)),
        device=run.config.compute.device,
    )
