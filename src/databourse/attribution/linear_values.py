"""What the linear proxy of the whole pool says each document is worth to each example.

Notation: g_i, v_j = gradients of the loss of document i and example j at the proxy, H = the Hessian
of its objective, penalty included.

    influence      v_j^T H^-1 g_i, exactly
    gradient_dot   v_j^T g_i

Larger is better. A document without a label trains nothing, so that its value is 0, exactly. Source
of influence: Koh & Liang 2017 (arXiv 1703.04730).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from databourse.influence.linear_influence import influence_on
from databourse.influence.softmax_regression import (
    SoftmaxRegression,
    predict_log_proba,
    residuals_of,
)
from databourse.signals.labels import NO_LABEL

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


def influence_values(
    proxy: SoftmaxRegression,
    embeddings: NDArray[np.float32],
    *,
    label_index: IntArray,
    example_embeddings: NDArray[np.float32],
    example_labels: IntArray,
) -> FloatArray:
    """Return v_j^T H^-1 g_i, shape (n, m), in nats per unit of a document's weight.

    Args:
        proxy: fitted on these documents.
        embeddings: shape (n, d).
        label_index: class of each document, -1 for none.
        example_embeddings: shape (m, d).
        example_labels: class of each example, one that some document has.

    Raises:
        InputError: as `influence_on`.
    """
    values = influence_on(
        proxy,
        embeddings,
        label_index=label_index,
        targets=[
            (example_embeddings[place : place + 1], example_labels[place : place + 1])
            for place in range(len(example_labels))
        ],
    )
    values[label_index == NO_LABEL] = 0.0
    return values


def gradient_dot_values(
    proxy: SoftmaxRegression,
    embeddings: NDArray[np.float32],
    *,
    label_index: IntArray,
    example_embeddings: NDArray[np.float32],
    example_labels: IntArray,
) -> FloatArray:
    """Return v_j^T g_i = <p_j - e_j, p_i - e_i> (<x_j, x_i> + 1), shape (n, m).

    Args:
        proxy, embeddings, label_index, example_embeddings, example_labels: as of
            `influence_values`.
    """
    labelled = np.flatnonzero(label_index != NO_LABEL)
    values = np.zeros((len(label_index), len(example_labels)))
    of_documents = _residuals(proxy, embeddings[labelled], label_index[labelled])
    of_examples = _residuals(proxy, example_embeddings, example_labels)
    closeness = embeddings[labelled].astype(np.float64) @ example_embeddings.astype(np.float64).T
    values[labelled] = (of_documents @ of_examples.T) * (closeness + 1)
    return values


def _residuals(
    proxy: SoftmaxRegression, embeddings: NDArray[np.float32], labels: IntArray
) -> FloatArray:
    return residuals_of(np.exp(predict_log_proba(proxy, embeddings)), labels)
