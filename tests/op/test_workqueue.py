import asyncio
import itertools

import pytest
import virtual

from flowgauge_operator.backoff import Backoff
from flowgauge_operator.errors import Unavailable
from flowgauge_operator.workqueue import Lane, WorkQueue


def served(scenario, worker, *, count=1, **options):
    """Run a scenario beside a queue with workers, in virtual time; return the queue."""

    async def main():
        queue = WorkQueue(**options)
        running = asyncio.create_task(queue.run(worker, count))
        await scenario(queue)
        queue.stop()
        await running
        return queue

    return virtual.run(main())


class Log:
    """A worker that writes down its turns as (second, key, forced)."""

    def __init__(self, seconds=0.0, fail=(), again=None):
        self.turns = []
        self.seconds = seconds
        self.fail = list(fail)
        self.again = again

    async def __call__(self, key, force):
        self.turns.append((round(asyncio.get_running_loop().time() - 1000, 1), key, force))
        await asyncio.sleep(self.seconds)
        if self.fail:
            raise self.fail.pop(0)
        return self.again

    @property
    def keys(self):
        return [key for _, key, _ in self.turns]


def test_many_adds_of_a_key_are_one_turn():
    log = Log()

    async def scenario(queue):
        for _ in range(100):
            queue.add("a")
        await asyncio.sleep(1)

    queue = served(scenario, log)

    assert log.keys == ["a"]
    assert (queue.counts.adds, queue.counts.turns) == (100, 1)


def test_a_key_that_changes_during_its_turn_gets_one_more():
    log = Log(seconds=5)

    async def scenario(queue):
        queue.add("a")
        await asyncio.sleep(1)
        queue.add("a")
        queue.add("a", force=True)
        await asyncio.sleep(20)

    served(scenario, log, count=4)

    assert log.turns == [(0.0, "a", False), (5.0, "a", True)]


def test_a_key_never_has_two_workers():
    active, most = set(), []

    async def worker(key, _force):
        assert key not in active
        active.add(key)
        most.append(len(active))
        await asyncio.sleep(1)
        active.discard(key)

    async def scenario(queue):
        for step in range(30):
            queue.add(step % 3)
            await asyncio.sleep(0.1)
        await asyncio.sleep(10)

    served(scenario, worker, count=8)

    assert max(most) == 3


def test_a_slow_key_does_not_hold_up_the_others():
    done = []

    async def worker(key, _force):
        await asyncio.sleep(100 if key == "slow" else 0)
        done.append(key)

    async def scenario(queue):
        queue.add("slow")
        for number in range(50):
            queue.add(number)
        await asyncio.sleep(1)

    served(scenario, worker, count=2)

    assert done == list(range(50))


def test_a_turn_that_never_ends_is_cut_and_tried_again():
    turns, told = [], []

    async def worker(key, _force):
        turns.append(key)
        if len(turns) == 1:
            await asyncio.Event().wait()

    async def main():
        queue = WorkQueue(on_failure=lambda key, error, _delay: told.append((key, type(error))))
        running = asyncio.create_task(queue.run(worker, 1, limit=60))
        queue.add("a")
        await asyncio.sleep(70)
        queue.stop()
        await running

    virtual.run(main())

    assert turns == ["a", "a"]
    assert told == [("a", TimeoutError)]


def test_the_fast_lane_goes_first():
    log = Log()

    async def scenario(queue):
        queue.add("resync 1", Lane.SLOW)
        queue.add("resync 2", Lane.SLOW)
        queue.add("edit")
        await asyncio.sleep(1)

    served(scenario, log)

    assert log.keys == ["edit", "resync 1", "resync 2"]


def test_the_slow_lane_never_starves():
    log = Log(seconds=1)

    async def scenario(queue):
        for number in range(100):
            queue.add(f"fast {number}")
        queue.add("slow", Lane.SLOW)
        await asyncio.sleep(50)

    served(scenario, log)

    assert log.keys.index("slow") == 7


def test_an_edit_lifts_a_key_out_of_the_slow_lane():
    log = Log()

    async def scenario(queue):
        for key in "abc":
            queue.add(key, Lane.SLOW)
        queue.add("c", Lane.FAST)
        assert queue.depth == {Lane.FAST: 1, Lane.SLOW: 2}
        await asyncio.sleep(1)

    served(scenario, log)

    assert log.keys == ["c", "a", "b"]


def test_a_delayed_key_comes_at_its_time():
    log = Log()

    async def scenario(queue):
        queue.add_after("b", 30)
        queue.add_after("a", 10)
        await asyncio.sleep(60)

    served(scenario, log)

    assert log.turns == [(10.0, "a", False), (30.0, "b", False)]


def test_of_two_plans_for_a_key_the_earlier_counts():
    log = Log()

    async def scenario(queue):
        queue.add_after("a", 10)
        queue.add_after("a", 30, force=True)
        queue.add_after("a", 20)
        await asyncio.sleep(60)

    served(scenario, log)

    assert log.turns == [(10.0, "a", True)]


def test_a_worker_can_ask_for_another_turn():
    log = Log(again=100)

    async def scenario(queue):
        queue.add("a")
        await asyncio.sleep(250)

    served(scenario, log)

    assert [second for second, _, _ in log.turns] == [0.0, 100.0, 200.0]


def test_failures_are_spaced_further_and_further_up_to_the_limit(monkeypatch):
    monkeypatch.setattr("random.uniform", lambda _low, _high: 1.0)
    log = Log(fail=[OSError()] * 12)

    async def scenario(queue):
        queue.add("a", force=True)
        await asyncio.sleep(3600)

    queue = served(scenario, log)

    seconds = [second for second, _, _ in log.turns]
    pauses = [after - before for before, after in itertools.pairwise(seconds)]
    assert pauses == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]
    assert all(force for _, _, force in log.turns)
    assert (queue.counts.retries, queue.failures("a")) == (12, 0)


def test_back_off_has_jitter():
    delays = {Backoff().delay(5) for _ in range(50)}

    assert len(delays) > 10
    assert all(12 <= delay <= 20 for delay in delays)


def test_many_failures_do_not_overflow():
    assert Backoff().delay(100_000) == 300.0


def test_a_server_that_asks_for_a_pause_gets_it():
    log = Log(fail=[Unavailable(429, "TooManyRequests", "later", retry_after=50)])

    async def scenario(queue):
        queue.add("a")
        await asyncio.sleep(60)

    served(scenario, log)

    assert [second for second, _, _ in log.turns] == [0.0, 50.0]


def test_a_failure_is_told_and_does_not_end_the_worker():
    told = []
    log = Log(fail=[ValueError("bad")])

    async def scenario(queue):
        queue.add("a")
        queue.add("b")
        await asyncio.sleep(10)

    served(
        scenario, log, on_failure=lambda key, error, delay: told.append((key, str(error), delay))
    )

    assert log.keys == ["a", "b", "a"]
    assert told == [("a", "bad", pytest.approx(1.0, rel=0.3))]


def test_a_cancellation_inside_a_turn_does_not_end_the_worker():
    log = Log(fail=[asyncio.CancelledError()])

    async def scenario(queue):
        queue.add("a")
        await asyncio.sleep(10)

    served(scenario, log)

    assert log.keys == ["a", "a"]


def test_events_of_our_own_half_done_work_do_not_undo_the_back_off():
    async def worker(key, _force):
        turns.append(key)
        queues[0].add(key, Lane.SLOW)
        raise OSError

    turns, queues = [], []

    async def scenario(queue):
        queues.append(queue)
        queue.add("a")
        await asyncio.sleep(10)

    served(scenario, worker)

    assert len(turns) == 4  # at about 0, 1, 3 and 7 seconds


def test_an_edit_does_not_wait_for_the_back_off():
    log = Log(fail=[OSError()] * 6)

    async def scenario(queue):
        queue.add("a")
        await asyncio.sleep(40)
        log.fail.clear()
        queue.add("a")
        await asyncio.sleep(0.5)

    served(scenario, log)

    assert log.turns[-1] == (40.0, "a", False)


def test_a_success_drops_the_planned_retry():
    log = Log(fail=[OSError()])

    async def scenario(queue):
        queue.add("a")
        await asyncio.sleep(0.1)
        queue.add("a")
        await asyncio.sleep(100)

    served(scenario, log)

    assert len(log.turns) == 2


def test_at_the_stop_running_turns_end_and_waiting_ones_do_not_begin():
    done = []

    async def worker(key, _force):
        await asyncio.sleep(5)
        done.append(key)

    async def scenario(queue):
        for key in "abc":
            queue.add(key)
        await asyncio.sleep(1)

    queue = served(scenario, worker, count=2)

    assert done == ["a", "b"]
    assert queue.active == 0


def test_a_turn_that_outlives_the_grace_is_cancelled():
    ends = []

    async def worker(_key, _force):
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            ends.append(asyncio.get_running_loop().time() - 1000)
            raise

    async def scenario(queue):
        queue.add("a")
        await asyncio.sleep(1)

    served(scenario, worker)

    assert ends == [11.0]


def test_cancelling_the_run_cancels_the_workers():
    async def main():
        queue = WorkQueue()
        running = asyncio.create_task(queue.run(Log(seconds=1000), 3))
        queue.add("a")
        await asyncio.sleep(1)
        running.cancel()
        await asyncio.wait({running})
        return queue.active, len(asyncio.all_tasks())

    assert virtual.run(main()) == (0, 1)


def test_waiting_time_is_measured_from_the_first_add():
    waits = []

    async def scenario(queue):
        queue.add("a")
        queue.add("b")
        await asyncio.sleep(1)
        queue.add("b")
        await asyncio.sleep(10)

    served(scenario, Log(seconds=3), on_wait=lambda seconds, _lane: waits.append(seconds))

    assert waits == [0.0, 3.0]


def test_the_clock_can_be_handed_in():
    waits = []

    async def main():
        queue = WorkQueue(clock=lambda: 5.0, on_wait=lambda seconds, _lane: waits.append(seconds))
        queue.add("a")
        running = asyncio.create_task(queue.run(Log(), 1))
        await asyncio.sleep(0.01)
        queue.stop()
        await running

    asyncio.run(main())

    assert waits == [0.0]


def test_ten_thousand_keys_pass_each_once():
    log = Log()

    async def scenario(queue):
        for number in range(10_000):
            queue.add(number, Lane(number % 2))
        await asyncio.sleep(1)
        assert (sum(queue.depth.values()), queue.active) == (0, 0)

    served(scenario, log, count=10)

    assert sorted(log.keys) == list(range(10_000))
