"""The linear proxy as an oracle: what a labelled document does for the loss on the targets.

    linear          v^T H^-1 g_i at the optimum on all documents (`influence.linear_influence`)
    leave_one_out   L(trained without i) - L(trained on all), L the mean loss on a target

Both in nats per target example, larger is better, for the softmax regression on frozen embeddings;
several targets are put together by the mean of their standardised values. The first is the first
order of the second, and orders documents all but alike (see `linear_influence` for how alike).
Documents without a label, or with one that no target example has, cannot be judged by what they
teach of it: without a label NaN, of another class a value like any other.
"""

from __future__ import annotations

import numpy as np

from databourse.errors import InputError
from databourse.influence.linear_influence import influence_on
from databourse.influence.softmax_regression import SoftmaxRegression, fit_proxy, mean_loss
from databourse.market.lmsr import FloatArray
from databourse.market.standardisation import IntArray
from databourse.signals.influence import known_examples
from databourse.signals.inputs import SignalInputs, required
from databourse.signals.labels import NO_LABEL, trainable_codes

_SMALLEST_CLASS = 5


class _Fitted:
    """The proxy of all documents, and the examples it is measured on."""

    def __init__(self, inputs: SignalInputs, *, l2: float) -> None:
        labels = required(inputs.labels, "labels")
        self.codes = trainable_codes(labels, smallest_class=_SMALLEST_CLASS)
        classes = np.unique(self.codes[self.codes != NO_LABEL])
        if classes.size < 2:
            raise InputError(
                "a linear oracle needs documents of at least two classes with "
                f"{_SMALLEST_CLASS} documents each, got {classes.size}"
            )
        self.n_classes = int(classes.max()) + 1
        self.embeddings = required(inputs.embeddings, "embeddings")
        self.targets = known_examples(required(inputs.targets, "targets"), labels, self.codes)
        self.l2 = l2
        self.proxy: SoftmaxRegression = fit_proxy(
            self.embeddings, self.codes, n_classes=self.n_classes, l2=l2
        )


def linear_utilities(inputs: SignalInputs, *, l2: float) -> FloatArray:
    """Return the influence of every document, shape (n,), NaN where it has no label.

    Args:
        inputs: with labels, embeddings and targets that have both.
        l2: penalty of the proxy, on the sum of its losses, > 0.

    Returns:
        Mean over targets of values with standard deviation 1, dimensionless; larger is better.

    Raises:
        InputError: labels or examples are missing.
    """
    fitted = _Fitted(inputs, l2=l2)
    values = influence_on(
        fitted.proxy, fitted.embeddings, label_index=fitted.codes, targets=fitted.targets
    )
    return _mixed(values, np.nanstd(values, axis=0))


class LeaveOneOut:
    """Positions to what the targets lose without each document: one training per document.

    Args:
        inputs: with labels, embeddings and targets that have both.
        l2: penalty of the proxy, on the sum of its losses, > 0.
    """

    def __init__(self, inputs: SignalInputs, *, l2: float) -> None:
        self._inputs, self._l2 = inputs, l2
        self._fitted: _Fitted | None = None
        self._losses = np.empty(0)
        self._scale = np.empty(0)

    def __call__(self, positions: IntArray) -> FloatArray:
        """Return the utility of each, shape (n,), NaN where it has no label.

        Raises:
            InputError: labels or examples are missing.
        """
        if self._fitted is None:
            self._fitted = _Fitted(self._inputs, l2=self._l2)
            self._losses = self._target_losses(self._fitted.proxy)
            # A scale that does not depend on who is asked about, as values are stored one by one.
            values = influence_on(
                self._fitted.proxy,
                self._fitted.embeddings,
                label_index=self._fitted.codes,
                targets=self._fitted.targets,
            )
            self._scale = np.nanstd(values, axis=0)
        found = np.array([self._without(place) for place in positions.tolist()])
        return _mixed(found.reshape(positions.size, len(self._fitted.targets)), self._scale)

    def _without(self, position: int) -> FloatArray:
        fitted = self._fitted
        assert fitted is not None  # noqa: S101 - the caller fits it
        if fitted.codes[position] == NO_LABEL:
            return np.full(len(fitted.targets), np.nan)
        weights = np.ones(fitted.codes.size)
        weights[position] = 0.0
        proxy = fit_proxy(
            fitted.embeddings,
            fitted.codes,
            n_classes=fitted.n_classes,
            l2=self._l2,
            weights=weights,
            start=fitted.proxy.coefficients,
        )
        rise: FloatArray = self._target_losses(proxy) - self._losses
        return rise

    def _target_losses(self, proxy: SoftmaxRegression) -> FloatArray:
        assert self._fitted is not None  # noqa: S101 - the caller fits it
        return np.array(
            [mean_loss(proxy, rows, label_index=classes) for rows, classes in self._fitted.targets]
        )


def _mixed(values: FloatArray, scale: FloatArray) -> FloatArray:
    """Return the mean over targets of values in units of their spread."""
    moved = np.where(scale > 0, scale, 1.0)
    result: FloatArray = (values / moved).mean(axis=1)
    return result
