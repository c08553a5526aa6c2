"""What every engine promises, on the one of this process; and how a run comes by its engine."""

import pytest

from databourse.config_engine import OnRay, RayConfig, ray_config, threads_there
from databourse.engines import LOCAL, Job, check_engine, held_engine, hold_engine
from databourse.errors import InputError, MissingExtraError


def job_of(work, opened=None):
    def here():
        if opened is not None:
            opened.append(1)
        return work

    return Job(here=here, there=lambda: pytest.fail("local opened a job elsewhere"), size=len)


def test_results_come_with_their_batches_in_order():
    job = job_of(lambda batch, progress: sum(batch))

    assert list(LOCAL.map_batches(job, iter([[1, 2], [], [5]]))) == [([1, 2], 3), ([], 0), ([5], 5)]


def test_a_model_is_loaded_once_and_not_at_all_for_no_batches():
    opened = []
    job = job_of(lambda batch, progress: None, opened)

    assert list(LOCAL.map_batches(job, [])) == []
    assert opened == []
    assert len(list(LOCAL.map_batches(job, [[1], [2], [3]]))) == 3
    assert opened == [1]


def test_no_batch_is_taken_before_the_one_before_it_was_used():
    taken = []

    def batches():
        for each in range(3):
            taken.append(each)
            yield [each]

    results = LOCAL.map_batches(job_of(lambda batch, progress: batch), batches())
    next(results)

    assert taken == [0]


def test_the_work_itself_reports_progress_as_it_goes():
    told = []

    def work(batch, progress):
        for _ in batch:
            progress(1)

    list(LOCAL.map_batches(job_of(work), [[1, 2], [3]], advance=told.append))

    assert told == [1, 1, 1]


def test_an_engine_that_is_not_held_is_refused():
    assert held_engine("local") is LOCAL
    with pytest.raises(InputError, match="engine 'ray' is not held here"):
        held_engine("ray")


def test_the_local_engine_needs_no_holding_and_nothing_installed(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)

    with hold_engine("local"):
        assert held_engine("local") is LOCAL
    assert check_engine("local") == "local: in this process"


def test_without_ray_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)

    with pytest.raises(MissingExtraError, match=r"pip install .*'databourse\[ray\]'"):
        check_engine("ray")
    with pytest.raises(MissingExtraError), hold_engine("ray"):
        pytest.fail("it was held")


def test_short_and_long_forms_of_the_engine_mean_the_same():
    assert ray_config("local") is None
    assert ray_config("ray") == ray_config(OnRay()) == RayConfig()
    assert threads_there(OnRay(ray=RayConfig(cpus_per_worker=3))) == 3
    assert threads_there("local") == 1
