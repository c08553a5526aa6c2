"""Length: ln(tokens), in nats of tokens.

Source: none; a control. Cost: nothing. Caveat: price per token divides by length again, so with a
length bias of 1 this trader argues with the budget rule; it is meant for comparisons.
"""

from __future__ import annotations

import numpy as np

from databourse.signals.inputs import SignalInputs, SignalResult, required
from databourse.signals.specification import SignalParameters, SignalSpec


class LengthParameters(SignalParameters):
    """Length has no choices."""


def length(parameters: LengthParameters, inputs: SignalInputs) -> SignalResult:
    """Return ln(tokens) of each document; 0 for one token."""
    del parameters
    tokens = required(inputs.tokens, "tokens")
    return SignalResult(values=np.log(tokens.astype(np.float64)))


SIGNAL = SignalSpec(
    name="length",
    scope="document",
    needs=frozenset({"tokens"}),
    parameters=LengthParameters,
    compute=length,
    revision=1,
    summary="natural logarithm of the number of tokens",
    orientation="large: a long document",
    cost="none beyond counting tokens",
)
