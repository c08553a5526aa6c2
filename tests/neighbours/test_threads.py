import threading

import threadpoolctl

from databourse.neighbours.threads import single_threaded_blas


def blas_threads():
    info = threadpoolctl.threadpool_info()
    return {pool["num_threads"] for pool in info if pool["user_api"] == "blas"}


def test_blas_has_one_thread_inside_and_its_own_number_again_outside():
    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        with single_threaded_blas():
            assert blas_threads() == {1}
        assert blas_threads() == {2}


def test_the_first_to_leave_does_not_lift_the_limit_for_the_others():
    entered, leave = threading.Event(), threading.Event()

    def hold():
        with single_threaded_blas():
            entered.set()
            leave.wait(timeout=30)

    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        other = threading.Thread(target=hold)
        other.start()
        assert entered.wait(timeout=30)
        with single_threaded_blas():
            leave.set()
            other.join(timeout=30)
            assert blas_threads() == {1}
        assert blas_threads() == {2}
