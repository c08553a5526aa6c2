"""Great Expectations as the judge of values in a pandas frame: no file, no network, no output.

Its import takes seconds, so it happens at the first frame; one ephemeral context serves the
process.
"""

from __future__ import annotations

import contextlib
import functools
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from databourse.contracts.outcomes import Outcome
from databourse.contracts.relation import id_text, shown_value
from databourse.contracts.results import MAX_EXAMPLES
from databourse.contracts.suite import Expectation
from databourse.errors import MissingExtraError

if TYPE_CHECKING:
    import pandas as pd

_one_at_a_time = threading.Lock()  # the context keeps the frame under judgement under one name


def judge_frame(
    name: str, expectations: Sequence[Expectation], frame: pd.DataFrame, key: Sequence[str]
) -> dict[str, Outcome]:
    """Return the outcome of each expectation in a frame, by rule.

    Args:
        name: of the contract.
        expectations: as `compile_suite` makes them; their columns are in the frame.
        frame: rows in key order, numbered from 0.
        key: columns of the frame that tell rows apart.

    Raises:
        MissingExtraError: great-expectations is not installed.
    """
    with _one_at_a_time:
        gx, batch_definition = _great_expectations()
        outcomes: dict[str, Outcome] = {}
        built = []
        for each in expectations:
            expectation = _built(gx, each)
            if isinstance(expectation, Outcome):
                outcomes[each["meta"]["rule"]] = expectation
            else:
                built.append(expectation)
        batch = batch_definition.get_batch({"dataframe": frame})
        # whether a rule holds takes half the time of what breaks it: only failed ones are asked
        holds = batch.validate(
            gx.ExpectationSuite(name=name, expectations=built), result_format="BOOLEAN_ONLY"
        )
        broken = {_rule(result) for result in holds.results if not result.success}
        details = batch.validate(
            gx.ExpectationSuite(
                name=name, expectations=[each for each in built if each.meta["rule"] in broken]
            ),
            # without index columns, which take 40 times as long; positions give the keys as well
            result_format={"result_format": "SUMMARY", "partial_unexpected_count": MAX_EXAMPLES},
        )
    outcomes |= {_rule(result): Outcome.passed() for result in holds.results if result.success}
    outcomes |= {_rule(result): _outcome(result, frame, key) for result in details.results}
    for each in expectations:
        outcomes.setdefault(each["meta"]["rule"], Outcome.unjudged("it was not judged"))
    return outcomes


@contextlib.contextmanager
def deprecations_ignored() -> Iterator[None]:
    """Import the library in the block: it imports two modules that Python 3.11 deprecates."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "module 'sre_(constants|parse)'", DeprecationWarning)
        yield


@functools.cache
def _great_expectations() -> tuple[Any, Any]:
    try:
        with deprecations_ignored():
            import great_expectations as gx
            from great_expectations.data_context.types.base import ProgressBarsConfig
    except ImportError as error:
        raise MissingExtraError("great-expectations", "pipeline", "checking contracts") from error
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    asset = context.data_sources.add_pandas("databourse").add_dataframe_asset("contract_rows")
    return gx, asset.add_batch_definition_whole_dataframe("all")


def _built(gx: Any, expectation: Expectation) -> Any:  # noqa: ANN401 - a library without its own types here
    """Return the library's expectation, or why there is none; a suite would drop it in silence."""
    try:
        suite = gx.ExpectationSuite(name="one", expectations=[expectation])
    except (ValueError, gx.exceptions.GreatExpectationsError) as error:
        return Outcome.unjudged(error)
    if len(suite.expectations) != 1:
        return Outcome.unjudged(f"Great Expectations knows no {expectation['type']}")
    return suite.expectations[0]


def _rule(result: Any) -> str:  # noqa: ANN401
    return str(result.expectation_config.meta["rule"])


def _outcome(result: Any, frame: pd.DataFrame, key: Sequence[str]) -> Outcome:  # noqa: ANN401
    """Return what a failed expectation found."""
    problem = _problem(result.exception_info)
    if problem:
        return Outcome.unjudged(problem)
    details: Mapping[str, Any] = result.result
    if "unexpected_count" not in details:
        return Outcome.of_relation([f"{details.get('observed_value')} rows"])
    failing_rows = int(details["unexpected_count"])
    if failing_rows == 0:
        return Outcome.unjudged("it failed without a failing row")
    column = result.expectation_config.kwargs.get("column")
    values = details.get("partial_unexpected_list") or []
    positions = details.get("partial_unexpected_index_list") or []
    ids = tuple(id_text(frame[name].iloc[each] for name in key) for each in positions if key)
    is_shown = column is not None and column not in key and values
    return Outcome(failing_rows, ids, shown_value(column, values[0]) if is_shown else "")


def _problem(information: Mapping[str, Any]) -> str:
    """Return the message of what was raised while judging, or nothing."""
    nested = [information] if "raised_exception" in information else list(information.values())
    raised = [each["exception_message"] for each in nested if each["raised_exception"]]
    return str(raised[0]) if raised else ""
