import asyncio
import time

import pytest

import flowgauge
from flowgauge import cells
from flowgauge.bins import FAILED, GOOD
from flowgauge.retrying import LONGEST_PAUSE, Policy


def outcome(name, step):
    snapshot = cells.step_cell(name, step).snapshot()
    return snapshot.finished(GOOD), snapshot.finished(FAILED), snapshot.retried


def failing(times, error=OSError):
    left = [times]

    def attempt():
        if left[0]:
            left[0] -= 1
            raise error
        return "done"

    return attempt


def test_a_step_that_succeeds_at_the_third_attempt_is_one_good_step_and_two_retries(name):
    work = flowgauge.step(name="s", workflow=name, retries=3, retry_on=(OSError,))(failing(2))

    assert work() == "done"
    assert outcome(name, "s") == (1, 0, 2)


def test_a_step_that_keeps_failing_is_one_failed_step_and_raises_its_last_error(name):
    work = flowgauge.step(name="s", workflow=name, retries=3)(failing(9))

    with pytest.raises(OSError) as caught:
        work()

    assert caught.value.__context__ is None
    assert outcome(name, "s") == (0, 1, 3)


def test_another_error_is_not_retried(name):
    work = flowgauge.step(name="s", workflow=name, retries=3, retry_on=(OSError,))(
        failing(1, KeyError)
    )

    with pytest.raises(KeyError):
        work()

    assert outcome(name, "s") == (0, 1, 0)


def test_a_coroutine_is_retried_and_waits_without_blocking(name):
    attempts = []

    @flowgauge.step(name="s", workflow=name, retries=2, backoff=0.01)
    async def work():
        attempts.append(time.perf_counter())
        if len(attempts) < 3:
            raise OSError
        return "done"

    assert asyncio.run(work()) == "done"
    assert outcome(name, "s") == (1, 0, 2)
    assert attempts[1] - attempts[0] >= 0.01
    assert attempts[2] - attempts[1] >= 0.02


def test_cancellation_is_never_retried(name):
    calls = []

    @flowgauge.step(name="s", workflow=name, retries=5)
    async def work():
        calls.append(1)
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(work())

    assert len(calls) == 1


def test_pauses_double_up_to_a_minute():
    policy = Policy(2000, backoff=0.5)

    assert [policy.pause(n) for n in (1, 2, 3, 8, 2000)] == [
        0.5,
        1.0,
        2.0,
        LONGEST_PAUSE,
        LONGEST_PAUSE,
    ]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"retries": -1}, ValueError),
        ({"retries": 1, "backoff": -0.1}, ValueError),
        ({"retries": 1, "retry_on": (BaseException,)}, TypeError),
        ({"retries": 1, "retry_on": ("OSError",)}, TypeError),
    ],
)
def test_senseless_retries_are_refused_at_decoration(arguments, error):
    with pytest.raises(error):
        flowgauge.step(**arguments)


def test_a_generator_cannot_be_retried():
    with pytest.raises(TypeError, match="a generator cannot be retried"):

        @flowgauge.step(retries=1)
        def items():
            yield
