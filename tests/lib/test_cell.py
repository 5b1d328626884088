import gc
import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowgauge import readings
from flowgauge.bins import CANCELLED, FAILED, GOOD, GRID, OUTCOMES, Bins, fold
from flowgauge.cell import ERROR_LIMIT, OTHER, Cell
from flowgauge.profiles import builtin, names


def total(snapshot):
    return sum(snapshot.finished(outcome) for outcome in OUTCOMES)


def test_totals_are_exact_and_consistent_while_threads_record_and_snapshots_are_taken():
    cell, threads, calls = Cell((0.1, 1.0)), 8, 3000
    running = True
    snapshots = []

    def record():
        for i in range(calls):
            token = cell.start()
            if i % 10:
                cell.finish(token)
            else:
                cell.finish(token, FAILED, "ValueError")

    def watch():
        while running:
            snapshots.append(cell.snapshot())

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        watcher = threading.Thread(target=watch)
        workers = [threading.Thread(target=record) for _ in range(threads)]
        for thread in (watcher, *workers):
            thread.start()
        for thread in workers:
            thread.join()
        running = False
        watcher.join()
    finally:
        sys.setswitchinterval(interval)

    final = cell.snapshot()
    assert (final.started, final.finished(GOOD), final.finished(FAILED), final.active) == (
        24000,
        21600,
        2400,
        0,
    )
    assert final.errors == {"ValueError": 2400}
    for snapshot in snapshots:
        assert snapshot.started == snapshot.active + total(snapshot)
        assert sum(snapshot.errors.values()) == snapshot.finished(FAILED)
    assert [s.started for s in snapshots] == sorted(s.started for s in snapshots)


def test_nothing_is_lost_while_the_bounds_change_under_load():
    cell, running, done = Cell(GRID), True, [0] * 4

    def record(i):
        while running:
            cell.finish(cell.start())
            done[i] += 1

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=record, args=(i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        counts = []
        for i in range(200):
            cell.rebind((0.001, 0.1) if i % 2 else (0.001, 0.1, 1.0))
            counts.append(total(cell.snapshot()))
        running = False
        for thread in threads:
            thread.join()
    finally:
        running = False
        sys.setswitchinterval(interval)

    assert counts == sorted(counts)
    assert total(cell.snapshot()) == sum(done)


def test_a_finalizer_may_measure_while_a_snapshot_is_taken():
    cell, ended = Cell((0.1,)), []

    class Measured:
        def __init__(self):
            self.token, self.itself = cell.start(), self

        def __del__(self):
            cell.finish(self.token)
            ended.append(1)

    def snapshots():
        for allocations in range(1, 60):  # until the collector runs: everywhere in a snapshot once
            gc.collect()
            gc.set_threshold(allocations)
            Measured()
            cell.snapshot()

    thresholds = gc.get_threshold()
    gc.freeze()  # what the test run holds need not be looked at each time
    try:
        thread = threading.Thread(target=snapshots, daemon=True)
        thread.start()
        thread.join(10)
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()

    assert not thread.is_alive(), (
        "a finalizer waits for the lock of the snapshot that it interrupted"
    )
    assert ended


def test_the_oldest_call_in_progress_is_known():
    cell = Cell(())
    first, second = cell.start(), cell.start()
    oldest = cell.snapshot().oldest

    cell.finish(first)
    newer = cell.snapshot().oldest
    cell.finish(second)

    assert oldest < newer
    assert cell.snapshot().oldest == 0.0


def test_errors_beyond_the_limit_share_a_slot_and_keep_the_total():
    cell = Cell(())
    for i in range(ERROR_LIMIT + 10):
        cell.finish(cell.start(), FAILED, f"Error{i}")

    errors = cell.snapshot().errors
    assert len(errors) == ERROR_LIMIT + 1
    assert errors[OTHER] == 10
    assert errors["Error0"] == 1


def test_an_error_that_is_called_like_the_shared_slot_is_counted_in_it():
    cell = Cell(())
    for i in range(ERROR_LIMIT):
        cell.finish(cell.start(), FAILED, OTHER if i == 0 else f"Error{i}")
    cell.finish(cell.start(), FAILED, "OneTooMany")

    assert cell.snapshot().errors[OTHER] == 2


def test_a_call_that_began_before_a_reset_is_not_counted_after_it():
    cell = Cell(())
    old = cell.start()
    cell.reset()
    new = cell.start()

    cell.finish(old)

    assert (cell.snapshot().started, cell.snapshot().active, total(cell.snapshot())) == (1, 1, 0)
    cell.finish(new)
    assert total(cell.snapshot()) == 1


@given(st.lists(st.tuples(st.sampled_from(OUTCOMES), st.text(max_size=3))))
def test_any_sequence_of_calls_adds_up(calls):
    cell = Cell((1.0,))
    for outcome, error in calls:
        cell.finish(cell.start(), outcome, error)

    snapshot = cell.snapshot()
    assert snapshot.started == len(calls)
    for outcome in OUTCOMES:
        assert snapshot.finished(outcome) == sum(1 for o, _ in calls if o == outcome)
    assert sum(snapshot.errors.values()) == sum(1 for _, error in calls if error)


bounds = st.lists(st.floats(1e-6, 1e6), unique=True, max_size=8).map(lambda b: tuple(sorted(b)))


@given(bounds, bounds, st.data())
def test_moving_counts_to_other_bounds_loses_none(old, new, data):
    bins = Bins(old)
    bins.counts = data.draw(
        st.lists(st.integers(0, 9), min_size=len(bins.counts), max_size=len(bins.counts))
    )
    bins.sums = [1.0 + outcome for outcome in OUTCOMES]

    moved = fold([bins], new)

    assert [moved.total(o) for o in OUTCOMES] == [bins.total(o) for o in OUTCOMES]
    assert moved.sums == bins.sums


@given(bounds, st.lists(st.floats(0, 1e7)))
def test_moving_counts_to_some_of_the_same_bounds_is_exact(all_bounds, durations):
    some = all_bounds[::2]
    fine, coarse = Bins(all_bounds), Bins(some)
    for bins in (fine, coarse):
        for duration in durations:
            bins.counts[sum(bound < duration for bound in bins.bounds)] += 1

    assert fold([fine], some).counts == coarse.counts


# Profiles of engines, which have no word for the library, have buckets of others.
@pytest.mark.parametrize("profile", [n for n in names() if builtin(n).by_role("library.info")])
def test_durations_measured_before_setup_fall_into_the_right_buckets_of_every_builtin_profile(
    profile,
):
    made = readings.vocabulary(builtin(profile))

    assert set(made.bounds("run")) <= set(GRID)
    assert set(made.bounds("step")) <= set(GRID)


def test_a_cancelled_call_is_neither_good_nor_failed():
    cell = Cell(())
    cell.finish(cell.start(), CANCELLED, "CancelledError")

    snapshot = cell.snapshot()
    assert (snapshot.finished(GOOD), snapshot.finished(FAILED), snapshot.finished(CANCELLED)) == (
        0,
        0,
        1,
    )
    assert snapshot.last_success == 0.0
    assert snapshot.last_finish > 0.0
