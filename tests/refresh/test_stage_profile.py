"""Where a refresh's time went, by hand."""

from databourse.refresh.context import StageReport
from databourse.refresh.stage_profile import stage_timings, time_between


def stage(name, start, seconds, cpu=0.5):
    return StageReport(name, 3, 2, seconds=seconds, cpu_seconds=cpu, started_seconds=100 + start)


def test_time_in_no_stage_is_what_no_stage_covers_however_they_overlap():
    # 0-4, 5-9 with 6-7 inside it and 8-11 across its end, 13-14: gaps 4-5 and 11-13
    stages = [
        stage(name, *span)
        for name, span in zip("abcde", [(0, 4), (6, 1), (5, 4), (8, 3), (13, 1)], strict=True)
    ]
    assert time_between(stages) == (14.0, 3.0)


def test_stages_without_a_clock_say_nothing():
    assert time_between([StageReport("old", 1, 1, seconds=2.0)]) == (0.0, 0.0)
    assert [each.stage for each in stage_timings([StageReport("old", 1, 1)])] == ["old"]


def test_contracts_are_one_row_and_the_rest_is_another():
    stages = [
        stage("ingest", 0, 4),
        stage("contract documents", 4, 1),
        stage("contract prices", 6, 2),
    ]
    rows = stage_timings(stages)
    assert [each.stage for each in rows] == [
        "ingest",
        "contracts (2)",
        "between stages (12% of 8 s)",
    ]
    assert [each.seconds for each in rows] == [4, 3, 1]
    assert [each.cpu_seconds for each in rows] == [0.5, 1.0, None]
    assert [each.rows_in for each in rows] == [3, None, None]
