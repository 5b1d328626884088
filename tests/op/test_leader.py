import asyncio
from dataclasses import replace

import pytest
import virtual

from flowgauge_operator import errors, lease
from flowgauge_operator.leader import Elector, Lost, Timing
from flowgauge_operator.lease import Lease


class Store:
    """A lease in memory with compare-and-swap; `broken` makes calls fail, `hanging` never end."""

    def __init__(self):
        self.lease = None
        self.version = 0
        self.broken = False
        self.hanging = False
        self.loses_answers = False

    async def answer(self):
        if self.hanging:
            await asyncio.Event().wait()
        if self.broken:
            raise errors.Unavailable(0, "Network", "connection refused")

    async def read(self):
        await self.answer()
        return self.lease

    async def write(self, wanted):
        await self.answer()
        if wanted.version != (self.lease.version if self.lease else None):
            raise errors.Conflict(409, "Conflict", "moved on")
        self.version += 1
        self.lease = replace(wanted, version=str(self.version))
        if self.loses_answers:
            self.loses_answers = False
            raise errors.Unavailable(0, "Network", "the answer was lost")
        return self.lease


class Shared:
    """What one candidate sees of a store; its own network can break."""

    def __init__(self, store):
        self.store = store
        self.hanging = False

    async def read(self):
        if self.hanging:
            await asyncio.Event().wait()
        return await self.store.read()

    async def write(self, wanted):
        if self.hanging:
            await asyncio.Event().wait()
        return await self.store.write(wanted)


def now():
    return asyncio.get_running_loop().time() - 1000


async def forever():
    await asyncio.Event().wait()


class Candidate:
    """An elector whose work writes down when it began and ended."""

    def __init__(self, store, identity):
        self.elector = Elector(store, identity)
        self.began = []
        self.ended = []
        self.task = asyncio.create_task(self.elector.lead(self.work))

    async def work(self):
        self.began.append(now())
        try:
            await forever()
        finally:
            self.ended.append(now())


def test_a_single_candidate_leads_at_once_and_renews():
    async def main():
        store = Store()
        one = Candidate(store, "one")
        await asyncio.sleep(61)
        return one.began, one.elector.is_leader, store.lease, store.version

    began, is_leader, held, writes = virtual.run(main())

    assert began == [0.0]
    assert is_leader
    assert (held.holder, held.duration, held.transitions) == ("one", 10, 0)
    assert writes == 41


def test_of_two_candidates_one_leads():
    async def main():
        store = Store()
        one, two = Candidate(store, "one"), Candidate(store, "two")
        await asyncio.sleep(300)
        return one.began + two.began, one.elector.is_leader, two.elector.is_leader

    began, first, second = virtual.run(main())

    assert began == [0.0]
    assert (first, second) == (True, False)


def test_two_candidates_that_create_the_lease_together_do_not_both_lead():
    class Slow(Store):
        async def read(self):
            found = await super().read()
            await asyncio.sleep(1)
            return found

    async def main():
        store = Slow()
        candidates = [Candidate(store, name) for name in ("one", "two", "three")]
        await asyncio.sleep(60)
        return [candidate.elector.is_leader for candidate in candidates]

    assert sorted(virtual.run(main())) == [False, False, True]


def test_after_a_crash_another_takes_over_once_the_lease_has_expired():
    async def main():
        store = Store()
        # Seen only once: the holder never renews, as after a crash.
        store.lease = Lease("crashed", 15, transitions=3, version="0")
        two = Candidate(store, "two")
        await asyncio.sleep(30)
        return two.began, store.lease.transitions

    began, transitions = virtual.run(main())

    assert 15 < began[0] < 15.1  # looked at when it expires, not at the next turn
    assert transitions == 4


@pytest.mark.parametrize("killed", [60.0, 60.3, 60.7, 61.2, 61.49])
def test_whenever_a_leader_is_killed_another_leads_within_twelve_seconds(killed):
    async def main():
        store = Store()
        dead = Shared(store)
        one, two = Candidate(dead, "one"), Candidate(store, "two")
        await asyncio.sleep(killed)
        dead.hanging = True
        await asyncio.sleep(30)
        assert isinstance(one.task.exception(), Lost)
        return two.began[0] - killed

    assert 8.4 < virtual.run(main()) <= 11.6


def test_two_that_wait_do_not_both_take_over():
    async def main():
        store = Store()
        dead = Shared(store)
        one = Candidate(dead, "one")
        waiting = [Candidate(store, name) for name in ("two", "three")]
        await asyncio.sleep(60)
        dead.hanging = True
        await asyncio.sleep(60)
        assert isinstance(one.task.exception(), Lost)
        return sorted(candidate.elector.is_leader for candidate in waiting)

    assert virtual.run(main()) == [False, True]


def test_a_leader_that_was_stopped_for_too_long_may_not_write_before_it_knows():
    async def main():
        store = Store()
        one = Candidate(store, "one")
        await asyncio.sleep(60)
        before = one.elector.may_write()
        asyncio.get_running_loop().now += 8.1  # stopped and continued; nothing else has run since
        return before, one.elector.is_leader, one.elector.may_write()

    assert virtual.run(main()) == (True, True, False)


def test_who_waits_may_not_write():
    async def main():
        store = Store()
        one, two = Candidate(store, "one"), Candidate(store, "two")
        await asyncio.sleep(60)
        return one.elector.may_write(), two.elector.may_write()

    assert virtual.run(main()) == (True, False)


@pytest.mark.parametrize("duration", [4, 10, 60])
def test_whatever_a_lease_lasts_its_holder_stops_before_and_tries_more_than_once(duration):
    timing = Timing.of(duration)

    assert timing.duration == duration
    assert timing.deadline <= 0.8 * duration
    assert 2 * (timing.retry + timing.call) < timing.deadline
    assert duration + 1.5 * timing.look <= 1.151 * duration


def test_a_stop_releases_the_lease_so_that_another_need_not_wait():
    async def main():
        store = Store()
        one, two = Candidate(store, "one"), Candidate(store, "two")
        await asyncio.sleep(60)
        one.task.cancel()
        await asyncio.wait({one.task})
        await asyncio.sleep(4)
        return one.ended, two.began

    ended, began = virtual.run(main())

    assert ended == [60.0]
    assert 60 <= began[0] <= 63.1


def test_work_that_ends_by_itself_releases_the_lease():
    async def main():
        store = Store()
        elector = Elector(store, "one")
        await elector.lead(lambda: asyncio.sleep(5))
        return store.lease.holder, elector.is_leader

    assert virtual.run(main()) == ("", False)


def test_an_error_of_the_work_is_raised_and_the_lease_released():
    async def main():
        store = Store()

        async def work():
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await Elector(store, "one").lead(work)
        return store.lease.holder

    assert not virtual.run(main())


@pytest.mark.parametrize("fault", ["broken", "hanging"])
def test_a_leader_without_network_stops_within_the_deadline(fault):
    async def main():
        store = Store()
        one = Candidate(store, "one")
        await asyncio.sleep(60.5)
        setattr(store, fault, True)
        with pytest.raises(Lost):
            await one.task
        return one.ended[0], now()

    ended, raised = virtual.run(main())

    assert 67 <= ended <= 68.5  # eight seconds after the last renewal, at second 60
    assert raised == ended


@pytest.mark.parametrize("fault", ["broken", "hanging"])
def test_a_short_outage_does_not_cost_leadership(fault):
    async def main():
        store = Store()
        one = Candidate(store, "one")
        for _ in range(5):
            await asyncio.sleep(20)
            setattr(store, fault, True)
            await asyncio.sleep(5)
            setattr(store, fault, False)
        return list(one.began), list(one.ended)

    assert virtual.run(main()) == ([0.0], [])


def test_a_leader_that_cannot_reach_the_cluster_stops_before_another_starts():
    async def main():
        store = Store()
        lonely = Shared(store)
        one = Candidate(lonely, "one")
        two = Candidate(store, "two")
        await asyncio.sleep(60)
        lonely.hanging = True
        await asyncio.wait({one.task})
        await asyncio.sleep(30)
        return one.ended[0], two.began[0]

    ended, began = virtual.run(main())

    assert ended < began


def test_a_leader_whose_lease_was_taken_stops_at_its_next_renewal():
    async def main():
        store = Store()
        one = Candidate(store, "one")
        await asyncio.sleep(60.5)
        store.lease = Lease("thief", 15, version="999")
        with pytest.raises(Lost):
            await one.task
        return one.ended[0], store.lease.holder

    ended, holder = virtual.run(main())

    assert ended == 61.5
    assert holder == "thief"


def test_a_renewal_whose_answer_was_lost_is_still_ours():
    async def main():
        store = Store()
        one = Candidate(store, "one")
        await asyncio.sleep(20.5)
        store.loses_answers = True
        await asyncio.sleep(60)
        return list(one.ended), one.elector.is_leader

    assert virtual.run(main()) == ([], True)


def test_a_lease_that_someone_deleted_is_created_again():
    async def main():
        store = Store()
        one = Candidate(store, "one")
        await asyncio.sleep(20.5)
        store.lease = None
        await asyncio.sleep(60)
        return list(one.ended), store.lease.holder

    assert virtual.run(main()) == ([], "one")


def test_a_restarted_process_takes_its_own_lease_at_once():
    async def main():
        store = Store()
        store.lease = Lease("one", 15, transitions=2, version="0")
        one = Candidate(store, "one")
        await asyncio.sleep(1)
        return one.began, store.lease.transitions

    assert virtual.run(main()) == ([0.0], 2)


def test_candidates_survive_an_outage_and_lead_afterwards():
    async def main():
        store = Store()
        store.broken = True
        one = Candidate(store, "one")
        await asyncio.sleep(100)
        store.broken = False
        await asyncio.sleep(5)
        return one.began

    assert 100 <= virtual.run(main())[0] <= 103.1


def test_work_that_ignores_its_end_does_not_keep_the_lease():
    async def main():
        store = Store()

        async def stubborn():
            try:
                await forever()
            except asyncio.CancelledError:
                await forever()

        task = asyncio.create_task(Elector(store, "one").lead(stubborn))
        await asyncio.sleep(60.5)
        store.broken = True
        with pytest.raises(Lost):
            await task
        return now()

    assert virtual.run(main()) <= 75.5


def test_work_that_still_runs_at_a_stop_keeps_the_lease_from_being_released():
    async def main():
        store = Store()

        async def stubborn():
            try:
                await forever()
            except asyncio.CancelledError:
                await asyncio.sleep(30)

        task = asyncio.create_task(Elector(store, "one").lead(stubborn))
        await asyncio.sleep(60.5)
        task.cancel()
        await asyncio.wait({task})
        return store.lease.holder

    assert virtual.run(main()) == "one"


def test_a_lease_survives_the_way_through_a_manifest():
    body = lease.manifest(Lease("one", 15, 3, version="7"), "system", "flowgauge-operator")

    assert body["metadata"] == {
        "name": "flowgauge-operator",
        "namespace": "system",
        "resourceVersion": "7",
    }
    assert lease.parse(body) == Lease("one", 15, 3, version="7")


def test_a_released_lease_has_no_holder():
    assert "holderIdentity" not in lease.manifest(Lease("", 1), "system", "x")["spec"]


def test_times_are_written_in_utc_with_microseconds():
    spec = {"renewTime": "2026-01-02T03:04:05.000006Z"}
    parsed = lease.parse({"spec": spec, "metadata": {"resourceVersion": "1"}})

    assert lease.manifest(parsed, "system", "x")["spec"]["renewTime"] == spec["renewTime"]
