"""What is called again and again, from one thread of ours."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import threading
import time

import pytest
from forked import in_child

from flowgauge import background as module
from flowgauge import guard
from flowgauge.background import Background


@pytest.fixture
def background():
    made = Background()
    yield made
    made.stop()


def ours():
    return [thread for thread in threading.enumerate() if thread.name == "flowgauge-samplers"]


def until(condition, what):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, f"{what} did not happen in 20 seconds"
        time.sleep(0.002)


@pytest.mark.parametrize("seconds", [0, -1, -0.1, math.nan])
def test_seconds_that_cannot_be_are_refused(background, seconds):
    with pytest.raises(ValueError, match=r"seconds is .*, must be above 0"):
        background.every(seconds, print)

    assert ours() == []


def test_a_function_is_called_at_once_and_again_and_again(background):
    calls = []
    background.every(0.005, lambda: calls.append(threading.current_thread()))

    until(lambda: len(calls) >= 5, "a fifth call")

    assert {(thread.name, thread.daemon) for thread in calls} == {("flowgauge-samplers", True)}
    assert len(ours()) == 1


def test_a_rare_function_is_called_once_and_does_not_hold_up_a_frequent_one(background):
    rare, frequent = [], []
    background.every(3000.0, lambda: rare.append("before"))
    until(lambda: rare, "a first call")

    background.every(0.002, lambda: frequent.append(1))
    background.every(3000.0, lambda: rare.append("behind"))

    until(lambda: len(frequent) >= 20, "a twentieth call")
    assert rare == ["before", "behind"]


@pytest.mark.parametrize("error", [ValueError("broken"), SystemExit(1), KeyboardInterrupt()])
def test_what_raises_is_logged_once_and_called_again(background, monkeypatch, caplog, error):
    monkeypatch.setattr(guard, "_reported", {})
    calls, others = [], []

    def fails():
        calls.append(1)
        raise error

    background.every(0.002, fails)
    background.every(0.002, lambda: others.append(1))

    until(lambda: len(calls) >= 5 and len(others) >= 5, "a fifth call")
    [record] = [r for r in caplog.records if "sampler" in r.getMessage()]
    assert "measuring failed at sampler fails" in record.getMessage()


def test_a_function_whose_name_cannot_be_told_is_logged_too(background, monkeypatch, caplog):
    monkeypatch.setattr(guard, "_reported", {})
    calls = []

    class Odd:
        def __call__(self):
            calls.append(1)
            raise ValueError

        def __repr__(self):
            raise RuntimeError

    background.every(0.002, Odd())

    until(lambda: len(calls) >= 3, "a third call")
    assert "measuring failed at sampler Odd" in caplog.text


def test_a_slow_function_rests_between_its_calls(background):
    begun, ended = [], []

    def slow():
        begun.append(time.monotonic())
        time.sleep(0.03)
        ended.append(time.monotonic())

    background.every(0.02, slow)

    until(lambda: len(begun) >= 4, "a fourth call")
    assert min(b - a for a, b in zip(ended, begun[1:], strict=False)) >= 0.0199


def test_what_is_forgotten_is_not_called_again(background):
    calls, others = [], []

    def sampler():
        calls.append(1)
        background.forget(sampler)  # even while it is called

    background.every(0.002, sampler)
    background.every(0.002, lambda: others.append(1))

    until(lambda: len(others) >= 10, "a tenth call")
    assert len(calls) == 1
    background.forget(sampler)


def test_other_seconds_take_the_place_of_the_first_ones(background):
    calls = []

    def sampler():
        calls.append(1)

    background.every(3000.0, sampler)
    until(lambda: calls, "a first call")
    background.every(0.002, sampler)

    until(lambda: len(calls) >= 10, "a tenth call")
    assert len(background._samplers) == 1


def test_other_seconds_that_come_during_a_call_count(background):
    calls = []

    def sampler():
        calls.append(1)
        if len(calls) == 1:
            background.every(0.002, sampler)

    background.every(3000.0, sampler)

    until(lambda: len(calls) >= 10, "a tenth call")


def test_nothing_is_called_after_the_end_and_the_thread_is_gone(background):
    calls = []
    background.every(0.002, lambda: calls.append(1))
    until(lambda: calls, "a call")

    background.stop()

    assert ours() == []
    done = len(calls)
    time.sleep(0.05)
    assert len(calls) == done
    background.stop()


def test_after_the_end_it_begins_anew_without_what_was_called_before(background):
    before, after = [], []
    background.every(0.002, lambda: before.append(1))
    until(lambda: before, "a call")
    background.stop()
    done = len(before)

    background.every(0.002, lambda: after.append(1))

    until(lambda: len(after) >= 5, "a fifth call")
    assert (len(before), len(ours())) == (done, 1)


def test_a_function_that_hangs_does_not_hold_up_the_end_nor_what_comes_after(
    background, monkeypatch
):
    monkeypatch.setattr(module, "STOP_SECONDS", 0.05)
    entered, go_on, callers = threading.Event(), threading.Event(), []

    def hangs():
        entered.set()
        go_on.wait(30)

    background.every(0.002, hangs)
    assert entered.wait(30)
    background.stop()

    background.every(0.002, lambda: callers.append(threading.current_thread()))
    until(lambda: callers, "a call")
    go_on.set()
    until(lambda: len(ours()) == 1, "the end of the thread that hung")
    callers.clear()
    until(lambda: len(callers) >= 10, "a tenth call")

    assert len(set(callers)) == 1


def test_a_function_may_end_it_all_itself(background):
    stopped, others = [], []

    def first():
        time.sleep(0.01)  # until the other one is there

    def sampler():
        background.stop()
        stopped.append(1)

    background.every(3000.0, first)
    background.every(0.002, sampler)
    background.every(0.002, lambda: others.append(1))

    until(lambda: stopped, "the end")
    until(lambda: ours() == [], "the end of the thread")
    assert (len(stopped), others) == (1, [])


def test_threads_that_begin_it_together_make_one_thread(background):
    calls, start = [], threading.Barrier(8)

    def begin(number):
        def sampler():
            calls.append(number)

        start.wait()
        background.every(0.005, sampler)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(10):
            threads = [threading.Thread(target=begin, args=(number,)) for number in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(30)
            until(lambda: set(calls) == set(range(8)), "a call of each")
            assert len(ours()) == 1
            background.stop()
            calls.clear()
    finally:
        sys.setswitchinterval(interval)


def test_the_handle_begins_and_ends_it(observe):
    calls = []
    with observe(serve=False) as handle:
        handle.every(0.002, lambda: calls.append(1))
        until(lambda: len(calls) >= 3, "a third call")
        with pytest.raises(ValueError, match="seconds is 0"):
            handle.every(0, print)

    assert ours() == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_goes_on_calling_with_a_thread_of_its_own():
    pids = []
    module.background.every(0.005, lambda: pids.append(os.getpid()))
    try:
        until(lambda: pids, "a call")

        def count():
            pids.clear()
            until(lambda: len(pids) >= 3, "a third call in the child")
            return set(pids) == {os.getpid()}, len(ours())

        assert in_child(count) == "(True, 1)"
        seen = len(pids)
        until(lambda: len(pids) > seen, "a call in the parent")
    finally:
        module.background.stop()


# The hooks of modules run in the order in which they were loaded. That of `threading` must have mended its locks
# before a thread is started, though the library's first hook may be older: this library loads it late.
FORKS = """
import sys
import flowgauge

@flowgauge.workflow
def work():
    pass

assert "threading" not in sys.modules, "loaded by decorating: the test shows nothing"
import os, select, signal, threading
from flowgauge.background import background

background.every(0.01, lambda: None)
running = True

def churn():
    # The lock that guards the list of threads is nearly always held.
    while running:
        thread = threading.Thread(target=int)
        thread.start()
        thread.join()

sys.setswitchinterval(1e-6)
threads = [threading.Thread(target=churn) for _ in range(3)]
for thread in threads:
    thread.start()
hung = 0
for _ in range(100):
    readable, writable = os.pipe()
    pid = os.fork()
    if pid == 0:
        background.stop()
        os.write(writable, b"done")
        os._exit(0)
    os.close(writable)
    if not select.select([readable], [], [], 10)[0]:
        hung += 1
        os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(readable)
    if hung:
        break
running = False
print(hung)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_does_not_wait_for_a_lock_of_a_thread_that_it_does_not_have():
    done = subprocess.run(
        [sys.executable, "-c", FORKS], capture_output=True, text=True, check=True, timeout=120
    )

    assert (done.stdout, done.stderr) == ("0\n", "")
