"""What programs do to a library that measures them: forks, signals, finalizers, cancellation, clocks, the end."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import os
import subprocess
import sys
import threading
import time

import pytest
from forked import in_child

import flowgauge
from flowgauge import cells, clock, guard, observability, profiles, records, view
from flowgauge.bins import CANCELLED, FAILED, GOOD, GRID

OPENMETRICS = "application/openmetrics-text"
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def of(snapshot):
    """Calls that began, good, failed and cancelled ends, and calls in progress."""
    ends = [snapshot.finished(outcome) for outcome in (GOOD, FAILED, CANCELLED)]
    return snapshot.started, *ends, snapshot.active


def runs(name):
    return of(cells.run_cell(name, trigger="manual").snapshot())


def steps(name, step):
    return of(cells.step_cell(name, step).snapshot())


def python(code, timeout=60):
    """What a program prints; it must end by itself, without a word on standard error."""
    done = subprocess.run(
        # From 3.12 on Python warns of forks beside threads, which these programs are about.
        [sys.executable, "-W", "ignore:This process:DeprecationWarning", "-c", code],
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@contextlib.contextmanager
def switching():
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)


@contextlib.contextmanager
def load(*targets):
    """Threads that call `targets` again and again, switched as often as possible; gives how often each was called."""
    running, faults, calls = True, [], [0] * len(targets)

    def again(i, target):
        try:
            while running:
                target()
                calls[i] += 1
        except BaseException as error:
            faults.append(error)
            raise

    threads = [
        threading.Thread(target=again, args=pair, daemon=True) for pair in enumerate(targets)
    ]
    with switching():
        try:
            for thread in threads:
                thread.start()
            yield calls
        finally:
            running = False
            for thread in threads:
                thread.join(30)
    assert not any(thread.is_alive() for thread in threads), "a thread hangs"
    if faults:
        raise faults[0]


# Forks.


# A small process forks three times as fast as a test run.
FORKS = """
import os, select, signal, sys, threading, traceback
import flowgauge
from flowgauge import cells, records
from flowgauge.bins import CANCELLED, FAILED, GOOD

made = flowgauge.counter("made_total", labels=["n"])
took = flowgauge.histogram("took_seconds", labels=["n"], buckets=[1.0])
size = flowgauge.summary("size", labels=["n"], quantiles=[0.5])
handle = flowgauge.setup_observability(serve=False, process_metrics=False)
numbers = iter(range(10**9))


@flowgauge.step
def part():
    pass


@flowgauge.workflow(name="orders")
def work(error=None):
    part()
    if error is not None:
        raise error


def succeed():
    work()


def fail():
    try:
        work(ValueError())
    except ValueError:
        pass


def record():
    n = next(numbers) % 40
    if n == 0:  # so that label sets are made all the time
        for metric in (made, took, size):
            metric.clear()
    for act in (made.inc, took.observe, size.observe):
        act(0.5, n=n)
    records.count("lease.failed", workflow="orders")
    records.observe("lease.duration", 0.5, workflow="orders")
    records.run_started("orders", trigger="told")
    records.run_finished("orders", 0.5, "failed", error="ToldError")


def scrape():
    assert handle.render("application/openmetrics-text").body.endswith(b"# EOF\\n")


def of(snapshot):
    ends = [snapshot.finished(outcome) for outcome in (GOOD, FAILED, CANCELLED)]
    return [snapshot.started, *ends, snapshot.active]


def seen():
    found = [of(s) for scope in ("run", "step") for k, s in cells.snapshots(scope) if k.workflow == "orders"]
    found.append([sum(made.collect().values, 0.0)])
    found += [[sum(v.count for v in m.collect().values)] for m in (took, size)]
    recorded = dict(records.families())
    return [*found, [sum(recorded["lease.failed"].values)], [sum(v.count for v in recorded["lease.duration"].values)]]


def once():
    succeed()
    fail()
    record()
    scrape()
    return seen()


def child():
    before = seen()
    return before, once(), in_child(once)


def in_child(function):
    readable, writable = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(writable, repr(function()).encode())
        except BaseException:
            os.write(writable, traceback.format_exc().encode())
        os._exit(0)
    os.close(writable)
    is_done = select.select([readable], [], [], 20)[0]
    if not is_done:
        os.kill(pid, signal.SIGKILL)
    answer = os.read(readable, 65536).decode() if is_done else "the child hangs"
    os.close(readable)
    os.waitpid(pid, 0)
    return answer


def again(act):
    while running:
        act()


once()
running, answers = True, set()
threads = [threading.Thread(target=again, args=(act,)) for act in ACTS]
interval = sys.getswitchinterval()
sys.setswitchinterval(1e-6)
for thread in threads:
    thread.start()
for _ in range(100):
    answers.add(str(in_child(child)))
    if len(answers) > 1:
        break  # one is wrong already
running = False
sys.setswitchinterval(interval)
for thread in threads:
    thread.join()
print(*answers, sep="\\n")
started, good, failed, _, active = seen()[0]
print(started == good + failed, active)
"""


@needs_fork
@pytest.mark.parametrize(
    "acts",
    [
        "succeed, succeed, succeed",
        "fail, fail, fail",
        "record, record, fail",
        "scrape, fail, record, succeed",
    ],
    ids=["success", "error", "records", "scrape"],
)
def test_a_child_that_is_forked_under_load_counts_from_zero_and_can_do_everything(acts):
    answers = python(FORKS.replace("ACTS", f"({acts})"), 120).splitlines()

    # Runs that were decorated, runs that were told, steps, instruments and records.
    told = [[1, 0, 1, 0, 0], [2, 2, 0, 0, 0], [0.5], [1], [1], [1.0], [1]]
    zero = [[type(number)() for number in each] for each in told]
    one = [[2, 1, 1, 0, 0], *told]
    assert answers == [str(([[0, 0, 0, 0, 0], *zero], one, str(one))), "True 0"]


@needs_fork
def test_calls_that_began_before_the_fork_are_the_parents_whatever_their_end(name):
    @flowgauge.workflow(name=name)
    def forks(error=None):
        answer = in_child(lambda: child(error)) if os.getpid() == parent else ""
        if error is not None:
            raise error
        return answer

    def child(error):
        # The child leaves the function in its own way, as programs do that fork deep in a call.
        with contextlib.suppress(ValueError, GeneratorExit):
            block.__exit__(type(error), error, None)
        generator.close()
        flowgauge.run(name).__enter__()
        return runs(name)

    parent = os.getpid()
    block = flowgauge.run(name)
    block.__enter__()

    @flowgauge.workflow(name=name)
    def items():
        yield 1

    generator = items()
    next(generator)

    assert forks() == "(1, 0, 0, 0, 1)"
    with pytest.raises(ValueError):
        forks(ValueError())
    generator.close()
    block.__exit__(None, None, None)
    assert runs(name) == (4, 3, 1, 0, 0)


# Signals. In a process of its own, since the timer is that of the test run.

SIGNALS = """
import signal
import flowgauge
from flowgauge import cells, records

collector = flowgauge.counter.__self__
made = flowgauge.counter("made_total", labels=["n"])
took = flowgauge.histogram("took_seconds", labels=["n"], buckets=[1.0])
size = flowgauge.summary("size", labels=["n"])
level = flowgauge.gauge("level", labels=["n"])
handle = flowgauge.setup_observability(serve=False)
handled = [0, 0]


@flowgauge.step
def part():
    pass


@flowgauge.workflow(name="orders")
def work(fails):
    part()
    if fails:
        raise ValueError


def handler(*_):
    if handled[0] >= GOAL:
        return  # handlers interrupt each other: else a slow one would never end
    handled[0] += 1
    n = handled[0]
    try:
        work(n % 3 == 0)
    except ValueError:
        handled[1] += 1
    for metric in (made.inc, took.observe, size.observe, level.inc):
        metric(1.0, n=n % 900)
    records.count("lease.failed", workflow=f"w{n % 300}")
    records.observe("lease.duration", 1.0, workflow=f"w{n % 300}")
    with flowgauge.run(f"w{n % 400}"):  # also names that are new
        pass


# Python itself cannot import a module in a handler that interrupted the import of it.
with flowgauge.run("before"):
    handle.render()
signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.0002, 0.0002)
outer = 0
try:
    while handled[0] < GOAL:
        MAIN
        outer += 1
finally:
    signal.setitimer(signal.ITIMER_REAL, 0)
n, failed = handled
found = cells.run_cell("orders", trigger="manual").snapshot()
print(found.active, found.started == n + EXTRA, found.finished(1) == failed)
print(sum(s.started for k, s in cells.snapshots("run") if k.workflow.startswith("w")) == n)
print(sum(made.collect().values) == n, sum(level.collect().values) == n)
print(sum(v.count for v in took.collect().values) == n, sum(v.count for v in size.collect().values) == n)
recorded = dict(records.families())
print(sum(recorded["lease.failed"].values) == n, sum(v.count for v in recorded["lease.duration"].values) == n)
"""
ALL_TRUE = ["0 True True", "True", "True True", "True True", "True True"]


@pytest.mark.parametrize(
    ("main", "extra"),
    [
        ("handle.render(('', 'application/openmetrics-text')[outer % 2])", "0"),
        ("work(False)", "outer"),
        (
            "made.inc(0.0, n=1); took.get(n=1); size.observe(float('nan'), n=1); level.inc(0.0, n=1)",
            "0",
        ),
        ("made.inc(0.0, n=outer % 900); took.collect(); size.collect()", "0"),
        ("records.bind({'lease.duration': ((0.5, 1.0), (1.0, 2.0))[outer % 2]})", "0"),
        ("cells.rebind('run', ((0.5, 1.0), (1.0, 2.0))[outer % 2])", "0"),
    ],
    ids=["scrapes", "works", "counts", "reads", "binds records", "binds runs"],
)
def test_a_signal_handler_may_measure_whatever_it_interrupts(main, extra):
    code = SIGNALS.replace("GOAL", "3000").replace("MAIN", main).replace("EXTRA", extra)

    assert python(code).splitlines() == ALL_TRUE


def test_a_signal_handler_may_scrape_whatever_it_interrupts():
    code = SIGNALS.replace(
        "    n = handled[0]\n", "    n = handled[0]\n    assert len(handle.render().body) > 99\n", 1
    )
    code = code.replace("GOAL", "60").replace("0.0002", "0.005")
    code = code.replace("MAIN", "work(False)").replace("EXTRA", "outer")

    assert python(code).splitlines() == ALL_TRUE


# Finalizers. The collector runs at allocations, so it is made to run at every one in turn.

FINALIZERS = """
import gc
import sys
import flowgauge
from flowgauge import cells, records

sys.unraisablehook = lambda fault: print("a finalizer failed:", fault.exc_value)
made = flowgauge.counter("made_total", labels=["n"])
took = flowgauge.histogram("took_seconds", labels=["n"], buckets=[1.0])
size = flowgauge.summary("size", labels=["n"])
spread = flowgauge.summary("spread")
handle = flowgauge.setup_observability(serve=False, process_metrics=False)
for warm in range(3):
    handle.render("application/openmetrics-text")
ended = 0


class Measured:
    def __init__(self):
        self.itself = self

    def __del__(self):
        global ended
        ended += 1
        with flowgauge.run(f"w{ended % 400}"), flowgauge.stepping("s"):  # names that are new
            pass
        made.inc(n=ended % 90)
        took.observe(0.5, n=ended % 90)
        size.observe(0.5, n=ended % 90)
        for i in range(40):  # each makes a row
            spread.observe(2.0**i)
        records.count("lease.failed", workflow=f"w{ended % 90}")


def collect():
    handle.render(("", "application/openmetrics-text")[ended % 2])


def start():
    with flowgauge.run(f"main{ended % 40}"), flowgauge.stepping("s"):
        made.inc(0.0, n="main")
        records.observe("lease.duration", 1.0, workflow="main")


def bind():
    cells.rebind("run", ((0.5, 1.0), (1.0, 2.0))[ended % 2])
    records.bind({"lease.duration": ((0.5, 1.0), (1.0, 2.0))[ended % 2]})


def read():
    spread.collect()
    spread.clear()
    for i in range(60):
        spread.observe(2.0**-i / 2)


# Pairs that were given back are used again without an allocation.
kept = [(i, -i) for i in range(5000)]
gc.collect()
gc.freeze()
for act in (collect, start, bind, read):
    for i in range(120):
        gc.collect()
        # A scrape has some thousand allocations, the others a few.
        gc.set_threshold(1 + (i * 37 % 3000 if act is collect else i % 40))
        Measured(), Measured()
        act()
        gc.set_threshold(0)
gc.collect()
gc.unfreeze()
found = cells.snapshots("run")
print(sum(s.active for _, s in found), sum(s.started for k, s in found if k.workflow[0] == "w") == ended)
print(sum(made.collect().values) == ended, sum(v.count for v in took.collect().values) == ended)
print(sum(v.count for v in size.collect().values) == ended, sum(dict(records.families())["lease.failed"].values) == ended)
"""


def test_a_finalizer_may_measure_whatever_it_interrupts():
    assert python(FINALIZERS, 120).splitlines() == ["0 True", "True True", "True True"]


# Cancellation and generators.


class Wait:
    """Something to wait for, driven by hand."""

    def __await__(self):
        yield self


def waiting(name, kind):
    @flowgauge.workflow(name=name)
    async def run():
        await Wait()

    @flowgauge.step(name="s", workflow=name)
    async def step():
        await Wait()

    return {"run": run, "step": step}[kind]


@pytest.mark.parametrize("kind", ["run", "step"])
def test_a_coroutine_may_go_on_and_end_in_another_context(name, kind):
    coroutine = waiting(name, kind)()
    contextvars.copy_context().run(coroutine.send, None)

    with pytest.raises(StopIteration):
        contextvars.copy_context().run(coroutine.send, None)

    assert (runs(name) if kind == "run" else steps(name, "s")) == (1, 1, 0, 0, 0)


@pytest.mark.parametrize("kind", ["run", "step"])
def test_a_coroutine_may_fail_in_another_context(name, kind):
    coroutine = waiting(name, kind)()
    contextvars.copy_context().run(coroutine.send, None)
    error = KeyError("x")

    with pytest.raises(KeyError) as caught:
        contextvars.copy_context().run(coroutine.throw, error)

    assert caught.value is error
    assert (runs(name) if kind == "run" else steps(name, "s")) == (1, 0, 1, 0, 0)


@pytest.mark.parametrize("kind", ["run", "step"])
@pytest.mark.parametrize("is_elsewhere", [False, True])
def test_a_coroutine_that_is_given_up_is_cancelled(name, kind, is_elsewhere):
    coroutine = waiting(name, kind)()
    context = contextvars.copy_context()
    context.run(coroutine.send, None)

    (contextvars.copy_context() if is_elsewhere else context).run(coroutine.close)

    assert (runs(name) if kind == "run" else steps(name, "s")) == (1, 0, 0, 1, 0)


def test_what_the_garbage_collector_ends_is_no_longer_in_progress(name, monkeypatch):
    faults = []
    monkeypatch.setattr(sys, "unraisablehook", faults.append)

    @flowgauge.workflow(name=name)
    def items():
        yield 1

    coroutine, generator = waiting(name, "run")(), items()
    contextvars.copy_context().run(coroutine.send, None)
    contextvars.copy_context().run(next, generator)
    during = runs(name)

    thread = threading.Thread(target=lambda held: held.clear(), args=([coroutine, generator],))
    del coroutine, generator
    thread.start()
    thread.join(30)
    del thread
    gc.collect()

    assert during == (2, 0, 0, 0, 2)
    assert runs(name) == (2, 1, 0, 1, 0)
    assert faults == []


def test_a_task_that_is_cancelled_again_and_again_is_one_cancelled_run(name):
    @flowgauge.step(name="s")
    async def part():
        await asyncio.sleep(60)

    @flowgauge.workflow(name=name)
    async def stubborn():
        for _ in range(3):
            with contextlib.suppress(asyncio.CancelledError):
                await part()
        await part()

    async def main():
        task = asyncio.create_task(stubborn())
        for _ in range(4):
            await asyncio.sleep(0.001)
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())

    assert runs(name) == (1, 0, 0, 1, 0)
    assert steps(name, "s") == (4, 0, 0, 4, 0)


def test_a_timeout_within_a_run_is_the_steps_only(name):
    @flowgauge.step(name="s")
    async def slow():
        await asyncio.sleep(60)

    @flowgauge.workflow(name=name)
    async def patient():
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(slow(), 0.001)

    asyncio.run(patient())

    assert runs(name) == (1, 1, 0, 0, 0)
    assert steps(name, "s") == (1, 0, 0, 1, 0)


def test_a_generator_that_will_not_be_closed_says_so_and_is_counted(name):
    @flowgauge.workflow(name=name)
    def stubborn():
        while True:
            with contextlib.suppress(GeneratorExit):
                yield 1
                continue
            yield 2

    generator = stubborn()
    next(generator)
    with pytest.raises(RuntimeError, match="ignored GeneratorExit"):
        generator.close()

    started, *_, active = runs(name)
    assert (started, active) == (1, 0)


# Clocks.


@pytest.fixture
def calendar(monkeypatch):
    """What the clock on the wall shows, to be set."""
    real, step = time.time, [0.0]
    monkeypatch.setattr(clock, "time", lambda: real() + step[0])
    monkeypatch.setattr(clock, "_offset", clock._offset)
    return step


@pytest.mark.parametrize("seconds", [86400.0, -86400.0, 1.0, -1.0])
def test_moments_follow_a_clock_that_was_set_and_durations_do_not(observe, calendar, seconds, name):
    handle = observe(serve=False)

    def value(metric):
        return handle.value(metric, workflow=name)

    outer = flowgauge.run(name)
    outer.__enter__()
    with flowgauge.run(name):
        pass
    before = value("workflow_last_success_timestamp_seconds")
    assert before == pytest.approx(time.time(), abs=30)

    calendar[0] = seconds

    after = value("workflow_last_success_timestamp_seconds")
    assert after - before == pytest.approx(seconds, abs=0.4)
    assert 0 <= value("workflow_oldest_active_run_age_seconds") < 30
    outer.__exit__(None, None, None)
    sums = [
        v.sum
        for family in handle.collect()
        if family.name == "workflow_run_duration_seconds"
        for key, v in zip(family.keys, family.values, strict=True)
        if name in key
    ]
    assert 0 <= sum(sums) < 30


def test_a_clock_that_drifts_a_little_does_not_move_what_has_happened(observe, calendar, name):
    handle = observe(serve=False)
    with flowgauge.run(name):
        pass
    seen = set()
    for step in (0.0, 0.1, -0.1, 0.2, 0.4):
        calendar[0] = step
        seen.add(handle.value("workflow_last_success_timestamp_seconds", workflow=name))

    assert len(seen) == 1


# Errors that are worse than others.


class BadText(Exception):
    def __str__(self):
        raise RuntimeError("no text")

    __repr__ = __str__


class Nameless(type):
    @property
    def __name__(cls):
        raise RuntimeError("no name")


class NamelessError(Exception, metaclass=Nameless):
    pass


class LyingError(Exception):
    @property
    def __class__(self):
        raise RuntimeError("no class")


OddlyNamedError = type('a "quoted" \\ name\n', (Exception,), {})


@pytest.mark.parametrize(
    ("error", "read"),
    [
        (BadText(), "BadText"),
        (NamelessError(), "other"),
        (LyingError(), "LyingError"),
        (OddlyNamedError(), 'a "quoted" \\ name\n'),
    ],
    ids=["text", "name", "class", "quoted"],
)
@pytest.mark.parametrize("way", ["plain", "coroutine", "generator", "block"])
def test_whatever_an_error_is_it_is_counted_once_and_goes_on(observe, name, error, read, way):
    def plain():
        raise error

    async def coroutine():
        raise error

    def generator():
        yield 1
        raise error

    decorate = flowgauge.workflow(name=name)
    if way == "plain":
        act = decorate(plain)
    elif way == "coroutine":
        made = decorate(coroutine)

        def act():
            made().send(None)

    elif way == "generator":
        made = decorate(generator)

        def act():
            list(made())

    else:

        def act():
            with flowgauge.run(name):
                raise error

    try:
        act()
    except BaseException as caught:
        assert caught is error  # noqa: PT017 - `pytest.raises` asks for the class
    else:
        pytest.fail("the error was swallowed")

    page = observe(serve=False).render(OPENMETRICS).body
    assert page.endswith(b"# EOF\n")
    assert runs(name) == (1, 0, 1, 0, 0)
    assert cells.run_cell(name, trigger="manual").snapshot().errors == {read: 1}


@pytest.mark.parametrize("way", ["run", "step", "block", "coroutine", "generator", "both"])
def test_a_recursion_without_end_leaves_nothing_in_progress_wherever_the_stack_ends(name, way):
    run, step = flowgauge.workflow(name=name), flowgauge.step(name="s", workflow=name)

    def deeper(n):
        return again(n + 1)

    def block(n):
        with flowgauge.run(name), flowgauge.stepping("s", workflow=name):
            return again(n + 1)

    async def coroutine(n):
        return await again(n + 1)

    def generator(n):
        yield from again(n + 1)

    again = {
        "run": lambda: run(deeper),
        "step": lambda: step(deeper),
        "block": lambda: block,
        "coroutine": lambda: run(step(coroutine)),
        "generator": lambda: run(step(generator)),
        "both": lambda: run(step(deeper)),
    }[way]()

    def begin(padding):
        if padding:
            return begin(padding - 1)
        if way == "coroutine":
            return again(0).send(None)
        return list(again(0)) if way == "generator" else again(0)

    for padding in range(24):  # so that the stack ends at each place in turn
        with pytest.raises(RecursionError):
            begin(padding)

    cells.snapshots("run")
    for started, good, failed, _, active in (runs(name), steps(name, "s")):
        assert active == 0
        assert (good, failed) == (0, started)


# Exemplars and bounds that change while the program works.


@pytest.fixture
def untraced():
    yield
    cells.trace(None)


def test_exemplars_may_come_and_go_while_calls_run(observe, untraced, name):
    handle = observe(serve=False, process_metrics=False)
    work = flowgauge.workflow(name=name)(lambda: None)

    def fail():
        with contextlib.suppress(ZeroDivisionError), flowgauge.run(name):
            raise ZeroDivisionError

    with load(work, work, fail) as calls:
        for i in range(300):
            cells.trace((lambda: (("trace_id", "abc"),)) if i % 2 else None)
            if i % 30 == 0:
                assert handle.render(OPENMETRICS).body.endswith(b"# EOF\n")

    good = calls[0] + calls[1]
    assert runs(name) == (good + calls[2], good, calls[2], 0, 0)
    assert good > 100


def test_a_tracer_that_raises_costs_the_exemplar_only(observe, untraced, monkeypatch, caplog, name):
    monkeypatch.setattr(guard, "_reported", {})

    def broken():
        raise RuntimeError("no trace")

    cells.trace(broken)
    work = flowgauge.workflow(name=name)(lambda: 5)
    for _ in range(3):
        assert work() == 5
    handle = observe(serve=False)
    for _ in range(2):
        assert handle.value("workflow_runs_total", workflow=name, status="success") == 3

    assert runs(name) == (3, 3, 0, 0, 0)
    assert [r.getMessage().split(";")[0] for r in caplog.records] == [
        "measuring failed at exemplar"
    ]


def test_an_exemplar_is_the_newest_of_its_bucket_and_links_to_its_trace(observe, untraced, name):
    handle = observe(serve=False)
    numbers = iter(range(1, 100))
    cells.trace(lambda: (("trace_id", f"{next(numbers):032x}"),))
    for _ in range(3):
        with flowgauge.run(name):
            pass
    page = handle.render(OPENMETRICS).body.decode()

    lines = [line for line in page.splitlines() if name in line and " # {" in line]
    [line] = [line for line in lines if line.startswith("workflow_run_duration_seconds_bucket")]
    assert f' # {{trace_id="{3:032x}"}} ' in line


def test_nothing_is_lost_when_bounds_change_while_calls_run(name):
    work = flowgauge.workflow(name=name)(lambda: None)
    part = flowgauge.step(name="s", workflow=name)(lambda: None)

    def record():
        records.observe("lease.duration", 0.25, workflow=name)
        records.run_started(name, trigger="told")
        records.run_finished(name, 0.25, "cancelled")

    def observed():
        family = dict(records.families())["lease.duration"]
        return next(v for k, v in zip(family.keys, family.values, strict=True) if name in k)

    records.observe("lease.duration", 0.25, workflow=name)
    bounds = [(0.001, 0.1), (0.001, 0.1, 1.0), GRID, (0.25,)]
    watched = [0]

    def watch():
        watched.append(runs(name)[1])

    try:
        with load(work, part, record, record, watch) as calls:
            seen = []
            for i in range(48):
                cells.rebind("run", bounds[i % 4])
                cells.rebind("step", bounds[(i + 1) % 4])
                records.bind({"lease.duration": bounds[i % 4]})
                seen.append((runs(name)[1], steps(name, "s")[1]))
    finally:
        for scope in ("run", "step"):
            cells.rebind(scope, GRID)

    told = calls[2] + calls[3]
    assert runs(name) == (calls[0], calls[0], 0, 0, 0)
    assert steps(name, "s") == (calls[1], calls[1], 0, 0, 0)
    assert of(cells.run_cell(name, trigger="told").snapshot()) == (told, 0, 0, told, 0)
    assert (observed().count, observed().sum) == (told + 1, 0.25 * (told + 1))
    assert seen == sorted(seen, key=lambda pair: pair[0]) == sorted(seen, key=lambda pair: pair[1])
    assert watched == sorted(watched)
    assert min(calls) > 20


def test_nothing_is_lost_when_it_is_set_up_and_closed_while_calls_run_and_others_scrape(
    observe, name
):
    work = flowgauge.workflow(name=name)(lambda: None)
    pages = []

    def scrape():
        pages[:] = [observability.render_current(OPENMETRICS).body]

    with load(work, work, scrape) as calls:
        for i in range(6):
            with observe(profile=("workflow", "contd", "tta-dev")[i % 3], serve=False) as handle:
                assert handle.render("").body

    done = calls[0] + calls[1]
    assert runs(name) == (done, done, 0, 0, 0)
    assert pages[0].endswith(b"# EOF\n")


def test_nothing_is_lost_when_many_ask_first_for_what_nobody_set_up(monkeypatch, name):
    work = flowgauge.workflow(name=name)(lambda: None)
    done = 0

    for _ in range(6):
        monkeypatch.setattr(observability, "_unset_views", {})
        ready, pages = threading.Barrier(6), []

        def ask(ready=ready, pages=pages):
            ready.wait()
            pages.append(observability.collect_current("contd"))

        threads = [threading.Thread(target=ask) for _ in range(6)]
        with load(work) as calls:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(30)
        done += calls[0]
        assert len(pages) == 6
        assert len(observability._unset_views) == 1

    assert runs(name) == (done, done, 0, 0, 0)


@pytest.fixture
def views(monkeypatch):
    """Views of two vocabularies, and a function that is called whenever bounds of runs are about to change."""
    interrupt, rebind = [lambda: None], cells.rebind

    def interrupted(scope, bounds):
        if scope == "run":
            interrupt[0]()
        rebind(scope, bounds)

    for scope in ("run", "step"):
        monkeypatch.setitem(cells._bounds, scope, cells._bounds[scope])
    monkeypatch.setattr(cells, "rebind", interrupted)
    made = [view.View(profiles.builtin(name)) for name in ("workflow", "contd")]
    yield *made, interrupt
    for scope in ("run", "step"):
        rebind(scope, GRID)


def test_who_binds_waits_for_another_thread_that_does(views):
    first, second, interrupt = views
    entered, go_on = threading.Event(), threading.Event()

    def hold():
        entered.set()
        assert go_on.wait(30)

    interrupt[0] = hold
    threads = [threading.Thread(target=first.bind), threading.Thread(target=second.bind)]
    threads[0].start()
    assert entered.wait(30)
    interrupt[0] = lambda: None
    threads[1].start()
    go_on.set()
    for thread in threads:
        thread.join(30)

    assert cells._bounds["run"] == second._vocabulary.bounds("run")


def test_who_binds_within_a_signal_handler_does_not_wait_for_itself(views):
    first, second, interrupt = views
    interrupt[0] = second.bind  # as a handler would that scrapes first of all

    thread = threading.Thread(target=first.bind, daemon=True)
    thread.start()
    thread.join(30)

    assert not thread.is_alive(), "it waits for itself"
    assert cells._bounds["run"] == first._vocabulary.bounds("run")


def test_names_that_threads_make_together_are_bounded_and_none_is_lost():
    code = """
import sys, threading
import flowgauge
from flowgauge import cells

def work(thread):
    for i in range(400):
        with flowgauge.run(f"{thread}-{i}"), flowgauge.stepping(f"{thread}-{i}"):
            pass

sys.setswitchinterval(1e-6)
threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
for scope in ("run", "step"):
    found = cells.snapshots(scope)
    print(sum(s.started for _, s in found), sum(s.active for _, s in found), len(found) <= cells.LIMIT + 9)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )

    assert done.stdout.splitlines() == ["3200 0 True", "3200 0 True"]


# The end of the interpreter.

END = """
import atexit, sys, threading, time
import flowgauge
from flowgauge import records

sys.setswitchinterval(1e-5)
counter = flowgauge.counter("made_total", labels=["n"])
summary = flowgauge.summary("size")
handle = flowgauge.setup_observability(host="127.0.0.1", port=0)
handle.every(0.001, lambda: records.set("queue.depth", 1.0))
started = threading.Semaphore(0)


@flowgauge.workflow(name="orders", trigger="event")
def work(n):
    with flowgauge.stepping("part"):
        counter.inc(n=n)
        summary.observe(1.0)
        records.count("lease.failed", workflow="orders")
        if n % 2:
            raise ValueError


def again():
    n = 0
    while True:
        n += 1
        try:
            work(n % 50)
        except ValueError:
            pass
        if n % 20 == 0:
            handle.render("application/openmetrics-text")
        if n == 3:
            started.release()


class Late:
    def __init__(self):
        self.itself = self

    def __del__(self):
        try:
            work(1)
        except (ValueError, TypeError, AttributeError, NameError, ImportError):
            pass  # modules may be gone already


late = Late()
atexit.register(lambda: [flowgauge.run("at exit").__enter__(), handle.render("")])
for _ in range(4):
    threading.Thread(target=again, daemon=True).start()
for _ in range(4):
    started.acquire()
ENDS
"""


@pytest.mark.parametrize("ends", ["", "handle.close()", "sys.exit(0)", "time.sleep(0.05)"])
def test_a_program_may_end_while_its_threads_measure(ends):
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", END.replace("ENDS", ends)],
            capture_output=True,
            text=True,
            timeout=60,
        )

        assert done.returncode == 0
        assert done.stderr == ""
