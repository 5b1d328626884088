import gc
import os
import threading
import time
import weakref
from itertools import pairwise
from statistics import median

import pytest
import receivers
from forked import in_child
from receivers import counter

from flowgauge.exporters import ExportError, Flusher, OtlpExporter, StatsDExporter


class Recorder:
    """A receiver that keeps what it gets, as slowly as told."""

    def __init__(self, seconds=0.0):
        self.exports = []
        self.moments = []
        self.seconds = seconds
        self.at_once = 0
        self.most_at_once = 0

    def export(self, families):
        self.moments.append(time.monotonic())
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        self.exports.append([family.values[0] for family in families])
        time.sleep(self.seconds)
        self.at_once -= 1

    def close(self):
        pass


def counting():
    """A collect function whose counter goes up by one with each reading."""
    values = iter(range(1, 10_000))
    return lambda: [counter("a", float(next(values)))]


def test_it_exports_again_and_again_and_once_more_at_the_end():
    recorder = Recorder()
    with Flusher(recorder, counting(), 0.05) as flusher:
        assert flusher.running
        receivers.until(lambda: len(recorder.exports) >= 4)
        before = len(recorder.exports)
    assert not flusher.running
    after = len(recorder.exports)
    time.sleep(0.15)

    assert before < after == len(recorder.exports)
    assert recorder.exports == [[float(n + 1)] for n in range(after)]


def test_it_does_nothing_before_it_is_started():
    recorder = Recorder()
    flusher = Flusher(recorder, counting(), 0.01)
    time.sleep(0.05)

    assert not flusher.running
    assert flusher.stop()
    assert recorder.exports == []


def test_the_beats_are_an_interval_apart():
    recorder = Recorder()
    with Flusher(recorder, counting(), 0.1):
        receivers.until(lambda: len(recorder.exports) >= 5)
    gaps = [b - a for a, b in pairwise(recorder.moments[:5])]

    assert 0.32 < sum(gaps) < 1.0


def test_flushers_do_not_begin_at_the_same_moment():
    recorders = [Recorder() for _ in range(8)]
    began = time.monotonic()
    flushers = [Flusher(recorder, counting(), 0.4).start() for recorder in recorders]
    receivers.until(lambda: all(recorder.exports for recorder in recorders))
    for flusher in flushers:
        flusher.stop()
    delays = [recorder.moments[0] - began for recorder in recorders]

    assert max(delays) - min(delays) > 0.05
    assert max(delays) < 3


def test_starting_twice_is_starting_once():
    recorder = Recorder(0.02)
    flusher = Flusher(recorder, counting(), 0.02).start().start()
    threads = [t for t in threading.enumerate() if t.name == "flowgauge-flusher"]
    flusher.stop()

    assert len(threads) == 1


def test_it_can_be_started_again():
    recorder = Recorder()
    flusher = Flusher(recorder, counting(), 10)
    for _ in range(2):
        flusher.start()
        assert flusher.stop()

    assert recorder.exports == [[1.0], [2.0]]


def test_a_slow_back_end_skips_beats_and_never_has_two_exports_at_once():
    recorder = Recorder(0.12)
    with Flusher(recorder, counting(), 0.05):
        time.sleep(1.0)
    starts = recorder.moments

    assert recorder.most_at_once == 1
    # An export of 0.12 s passes over two beats, so the next is on the third.
    assert 3 <= len(starts) <= 9
    gaps = [b - a for a, b in pairwise(starts[:-1])]
    assert median(gaps) > 0.135


def test_errors_are_logged_once_a_minute_and_it_goes_on(caplog):
    class Failing(Recorder):
        def export(self, families):
            super().export(families)
            if len(self.exports) % 2:
                raise ExportError("Failing", "nowhere", "it is broken")

    recorder = Failing()
    with Flusher(recorder, counting(), 0.02):
        receivers.until(lambda: len(recorder.exports) > 6)

    assert len(caplog.records) == 1
    assert "Failing cannot send to nowhere: it is broken" in caplog.text


def test_a_collect_function_that_raises_does_not_end_it(caplog):
    recorder = Recorder()
    calls = []

    def collect():
        calls.append(1)
        if len(calls) < 3:
            raise ValueError("not yet")
        return [counter("a", 1.0)]

    with Flusher(recorder, collect, 0.02):
        receivers.until(lambda: recorder.exports)

    assert "not yet" in caplog.text


def test_stopping_waits_no_longer_than_told():
    done = threading.Event()

    class Stuck(Recorder):
        def export(self, families):
            super().export(families)
            done.wait(10)

    recorder = Stuck()
    flusher = Flusher(recorder, counting(), 0.01).start()
    receivers.until(lambda: recorder.exports)
    began = time.monotonic()
    in_time = flusher.stop(0.2)
    took = time.monotonic() - began
    done.set()

    assert not in_time
    assert 0.2 <= took < 8
    receivers.until(lambda: not any(t.name == "flowgauge-flusher" for t in threading.enumerate()))


@pytest.mark.parametrize("interval", [0, -1, float("nan"), float("inf")])
def test_an_interval_must_be_one(interval):
    with pytest.raises(ValueError, match="interval is"):
        Flusher(Recorder(), counting(), interval)


PROGRAM = """
import sys, time
from flowgauge.exporters import Flusher, StatsDExporter
from flowgauge.metrics import MetricFamily
flusher = Flusher(
    StatsDExporter("127.0.0.1", {port}),
    lambda: [MetricFamily("a", "counter", "", (), [()], [3.0])],
    {interval},
).start()
{rest}
"""


def test_the_last_numbers_of_a_program_that_ends_are_sent(statsd):
    receivers.in_python(PROGRAM.format(port=statsd.port, interval=600, rest=""))

    assert statsd.read() == ["a:3|c"]


def test_also_of_one_that_ends_with_an_error_and_in_a_thread(statsd):
    rest = "import threading\nthreading.Thread(target=time.sleep, args=(0.2,)).start()\nsys.exit(0)"
    receivers.in_python(PROGRAM.format(port=statsd.port, interval=600, rest=rest))

    assert statsd.read() == ["a:3|c"]


def test_a_program_ends_in_time_although_the_back_end_hangs(http):
    done = threading.Event()
    http.default = lambda _: (done.wait(30), (200, {}, b""))[1]
    code = f"""
import time
import weakref
from flowgauge.exporters import Flusher, OtlpExporter, flusher
from flowgauge.metrics import MetricFamily
flusher.EXIT_SECONDS = 0.5
Flusher(
    OtlpExporter("{http.address}", timeout=20),
    lambda: [MetricFamily("a", "counter", "", (), [()], [3.0])],
    600,
).start()
"""
    began = time.monotonic()
    receivers.in_python(code)
    took = time.monotonic() - began
    done.set()

    assert http.requests
    assert 0.5 < took < 9


def test_a_flusher_that_was_stopped_does_not_export_at_the_end(statsd):
    receivers.in_python(PROGRAM.format(port=statsd.port, interval=600, rest="flusher.stop()"))

    assert statsd.read() == ["a:3|c"]
    assert len(statsd.packets) == 1


def test_a_forked_child_goes_on_exporting_its_own(statsd):
    exporter = StatsDExporter("127.0.0.1", statsd.port)
    value = [100.0]
    flusher = Flusher(exporter, lambda: [counter("a", value[0])], 0.05).start()
    receivers.until(lambda: (statsd.read(), statsd.counters["a"] == 100)[1])

    def child():
        value[0] = 7.0  # as the engine's numbers begin anew
        time.sleep(0.3)
        running = flusher.running
        flusher.stop()
        return running

    assert in_child(child) == "True"
    assert flusher.running
    flusher.stop()
    exporter.close()
    statsd.read()

    assert statsd.counters["a"] == 107


def test_a_child_of_a_parent_whose_flusher_was_stopped_has_none():
    recorder = Recorder()
    flusher = Flusher(recorder, counting(), 0.02).start()
    flusher.stop()

    assert in_child(lambda: (time.sleep(0.1), flusher.running)[1]) == "False"


def test_a_child_that_is_forked_while_another_thread_stops_the_flusher_does_not_hang():
    flusher = Flusher(Recorder(), counting(), 10).start()
    flusher.stop()
    with flusher._stopping._cond:  # as `set` holds it
        assert in_child(lambda: flusher.stop(1), seconds=5) == "True"


def test_a_flusher_that_was_stopped_is_let_go():
    flusher = Flusher(Recorder(), counting(), 10).start()
    flusher.stop()
    gone = weakref.ref(flusher)
    del flusher
    gc.collect()

    assert gone() is None


def test_children_that_are_forked_during_exports_do_not_hang(statsd):
    exporter = StatsDExporter("127.0.0.1", statsd.port)
    with Flusher(exporter, counting(), 0.001) as flusher:
        for _ in range(30):
            answer = in_child(lambda: (flusher.stop(5), flusher.running))
            assert answer == "(True, False)"
    exporter.close()


MULTIPROCESSING = """
import multiprocessing
from flowgauge.exporters import Flusher, StatsDExporter
from flowgauge.metrics import MetricFamily

value = [1.0]
flusher = Flusher(
    StatsDExporter("127.0.0.1", {port}),
    lambda: [MetricFamily("a", "counter", "", (), [()], [value[0]])],
    600,
).start()


def work(amount):
    value[0] = amount


if __name__ == "__main__":
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=work, args=(10.0 ** n,)) for n in (1, 2, 3)]
    for child in children:
        child.start()
    for child in children:
        child.join()
"""


def test_the_last_numbers_of_processes_of_multiprocessing_are_sent(statsd):
    receivers.in_python(MULTIPROCESSING.format(port=statsd.port))
    statsd.read()

    assert statsd.counters["a"] == 1111


def test_hooks_find_threading_ready_even_when_it_was_imported_last():
    """A thread that is started before the hook of `threading` has run would count as dead."""
    code = """
import flowgauge.forks
import os, sys, time
assert "threading" not in sys.modules
from flowgauge.exporters import Flusher

class Receiver:
    exports = 0
    def export(self, families):
        self.exports += 1
    def close(self):
        pass

receiver = Receiver()
flusher = Flusher(receiver, list, 0.02).start()
pid = os.fork()
if pid == 0:
    receiver.exports = 0
    time.sleep(0.3)
    os._exit(0 if receiver.exports > 3 and flusher.running else 1)
print(os.waitpid(pid, 0)[1])
"""
    assert receivers.in_python(code) == "0"


def test_the_flusher_loads_nothing_of_the_exporters():
    code = (
        "import sys\n"
        "import flowgauge.exporters\n"
        "loaded = set(sys.modules)\n"
        "flowgauge.exporters.Flusher\n"
        "heavy = {'socket', 'ssl', 'http.client', 'urllib.request', 'inspect', 'asyncio', 'json'}\n"
        "print(sorted(heavy & set(sys.modules)), 'threading' in loaded)\n"
    )
    assert receivers.in_python(code) == "[] False"


def test_two_processes_of_one_program_do_not_share_an_identity(http):
    http.default = (200, {}, b"")
    with OtlpExporter(http.address) as exporter, Flusher(exporter, counting(), 0.02):
        receivers.until(lambda: http.requests)
        in_child(lambda: (time.sleep(0.2), os.getpid())[1])

    assert len({receivers.identity(request) for request in http.requests}) == 2
