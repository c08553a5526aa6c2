"""Threads of torch: each thread of Python has its own number, and leaves no trace."""

import threading

import pytest

from databourse.language_models.model import compute_on_one_thread, threads_of_torch


@pytest.fixture(autouse=True)
def _threads_as_before():
    import torch

    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def _in_a_new_thread(work):
    found = []
    thread = threading.Thread(target=lambda: found.append(work()))
    thread.start()
    thread.join()
    return found[0]


def test_threads_inside_at_the_same_time_keep_their_own_numbers_and_restore_those_outside():
    import torch

    torch.set_num_threads(3)
    first_is_in, second_is_in, first_is_out = (threading.Event() for _ in range(3))
    seen = {}

    def first():
        with threads_of_torch(1):
            first_is_in.set()
            second_is_in.wait()
            seen["first"] = torch.get_num_threads()
        first_is_out.set()

    def second():
        first_is_in.wait()  # so what it finds is what the first one has set
        with threads_of_torch(2):
            second_is_in.set()
            first_is_out.wait()
            seen["second"] = torch.get_num_threads()

    threads = [threading.Thread(target=each) for each in (first, second)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert seen == {"first": 1, "second": 2}
    assert torch.get_num_threads() == 3
    assert _in_a_new_thread(torch.get_num_threads) == 3


def test_what_fails_inside_leaves_the_number_of_threads():
    import torch

    torch.set_num_threads(3)
    with pytest.raises(KeyError), threads_of_torch(1):
        assert torch.get_num_threads() == 1
        raise KeyError
    assert torch.get_num_threads() == 3
    assert _in_a_new_thread(torch.get_num_threads) == 3


def test_a_worker_stays_on_one_thread_when_another_sets_more():
    import torch

    ready, set_elsewhere = threading.Event(), threading.Event()
    found = []

    def work():
        compute_on_one_thread()
        ready.set()
        set_elsewhere.wait()
        torch.ones(10).sum()  # torch may read its default number at a thread's first computation
        found.append(torch.get_num_threads())

    worker = threading.Thread(target=work)
    worker.start()
    ready.wait()
    torch.set_num_threads(3)
    set_elsewhere.set()
    worker.join()
    assert found == [1]
