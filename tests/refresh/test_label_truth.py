"""Which labels are wrong, from a column that is kept beside the text."""

import numpy as np
import pytest

from databourse.config import RefreshConfig
from databourse.errors import ConfigError, InputError
from databourse.refresh.comparison import check_comparison
from databourse.refresh.label_truth import check_truth, disagreements, flags
from databourse.samplers.interface import Candidates
from databourse.signals.inputs import SignalInputs


def config_of(truth, **source):
    text = {"name": "s", "path": "pool.jsonl", "text": "{text}", "label": "label"}
    test = {"name": "t", "path": "t.jsonl", "text": "{text}", "label": "label"}
    return RefreshConfig(
        pool="p",
        seed=1,
        sources=[{**text, **source}],
        encoder="hashing",
        signals=["length"],
        budget={"tokens": 10},
        compare={"truth": truth, "test": test},
    )


def test_labels_are_compared_as_labels_are_read():
    found = disagreements(["3", "3", "3", "3", "a", None, "b"], [3, 3.0, " 3 ", 2, None, "a", ""])
    np.testing.assert_array_equal(found, [0, 0, 0, 1, np.nan, np.nan, np.nan])


def test_flags_are_truth_values_in_any_spelling():
    found = flags([True, False, "TRUE", "false", 1, "0", None, " "], "flipped")
    np.testing.assert_array_equal(found, [1, 0, 1, 0, 1, 0, np.nan, np.nan])
    with pytest.raises(InputError, match="column 'flipped' must be true or false, got 'maybe'"):
        flags(["maybe"], "flipped")


def test_a_truth_that_is_in_a_text_is_refused():
    config = config_of({"label": "gt"}, text="{text} ({gt})", metadata=["gt"])
    with pytest.raises(ConfigError, match="'gt', which source 's' puts into its text"):
        check_comparison(config)


def test_a_truth_that_no_source_keeps_is_refused():
    with pytest.raises(ConfigError, match=r"'gt', which no source keeps; add metadata: \[gt\]"):
        check_comparison(config_of({"label": "gt"}))
    check_truth(config_of({"is_wrong": "flipped"}, metadata=["flipped"]))
    check_truth(config_of(None))


@pytest.mark.parametrize("truth", [{}, {"label": "gt", "is_wrong": "flipped"}])
def test_the_truth_is_one_column(truth):
    with pytest.raises(ValueError, match=r"compare\.truth needs either label or is_wrong"):
        config_of(truth)


def test_neither_signals_nor_samplers_have_a_place_for_what_is_kept_beside_a_text():
    for given in (SignalInputs, Candidates):
        fields = set(given.__dataclass_fields__)
        assert not {name for name in fields if "meta" in name or "truth" in name}, given
