"""Ready comparisons: valid, with targets that are no test examples."""

import pytest

from databourse.config import load_config
from databourse.refresh.comparison import check_comparison
from flows.starting_points import EXAMPLES, example_config


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_ready_comparison_is_valid_and_no_target_is_tested_on(tmp_path, name):
    path = tmp_path / "databourse.yaml"
    path.write_text(example_config(name, file_name=path.name, data="/published"), encoding="utf-8")
    config = load_config(path, [])
    check_comparison(config)
    assert config.pool == name
    (target,), (test,), (oracle,) = config.targets, config.compare.test, config.settlement.targets
    parts = [each.part for each in (target, oracle, test)]
    assert target.path == test.path == oracle.path
    assert {part.of for part in parts} == {target.part.of}
    assert sorted(take for part in parts for take in part.take) == list(range(target.part.of))
    assert "random" in config.compare.samplers
    if name == "gsm8k":
        assert config.compare.budgets == (60_000,)
    else:
        assert config.compare.budgets == (0.05, 0.1, 0.15, 0.2, 0.25)
        assert config.compare.truth.label == "gt"
        assert target.labels == {"1": "0", "2": "1", "3": "2", "4": "3"}
