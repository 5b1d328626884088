"""Who reads: other processes, threads and handlers, at the same time."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest
from together import Process, counted, forget, own, program, run, runs, together

import flowgauge
from flowgauge import (
    dead,
    records,
    slotfile,
    slots,
)

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def test_a_process_that_counts_nothing_may_be_the_one_that_is_scraped(folder):
    def worker(_):
        run("w", 4)
        flowgauge.counter("c_total").inc(2)

    def body():
        os.environ[slots.MULTIPROCESS] = folder
        workers = [Process(worker) for _ in range(3)]
        for one in workers:
            one.result()

    program(body)
    code = """
import flowgauge
print([line for line in flowgauge.setup_observability(serve=False).render().body.decode().splitlines()
       if line.startswith(("c_total", 'workflow_runs_total{status="success"'))])
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, slots.MULTIPROCESS: folder},
        capture_output=True,
        text=True,
        check=True,
    )
    assert (
        done.stdout
        == """['workflow_runs_total{status="success",workflow="w"} 12.0', 'c_total 6.0']\n"""
    )
    assert done.stderr == ""


def test_scrapers_at_the_same_time_in_threads_and_in_a_forked_child_all_see_the_same(folder):
    def count(i):
        flowgauge.counter("c_total", labels=["i"]).inc(i=str(i))

    def living(parent):
        count(0)
        parent.say()
        parent.hear()
        for i in range(1, 400):
            count(i)
        parent.say()
        parent.hear()

    def dying(_):
        count(0)

    def total(handle):
        return sum(v for k, v in counted(handle).items() if k[0] == "c_total")

    def scraper(_):
        handle = flowgauge.setup_observability(serve=False)
        return sorted({total(handle) for _ in range(10)})

    def body():
        handle = together(folder)
        alive = Process(living)
        alive.hear()
        total(handle)
        alive.say()  # what is new in a file that is known is read by many threads at once
        alive.hear()
        seen = []
        add = slotfile.Reader._add
        slotfile.Reader._add = lambda *arguments: (
            add(*arguments),
            time.sleep(0),
        )  # others may come
        threads = [threading.Thread(target=lambda: seen.append(total(handle))) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        slotfile.Reader._add = add
        for _ in range(27):
            Process(dying).wait()
        others = [Process(scraper) for _ in range(3)]
        found = [seen, *(one.result() for one in others)]
        alive.kill()
        return found

    assert program(body) == [[400] * 8, [427], [427], [427]]


@pytest.mark.parametrize("handler", ["scrapes", "raises"])
def test_a_signal_handler_in_the_middle_of_a_scrape_leaves_no_count_double(folder, handler):
    def worker(parent):
        for i in range(50):
            flowgauge.counter("c_total", labels=["i"]).inc(i=str(i))
        parent.say()
        parent.hear()

    def body():
        handle = together(folder)
        one = Process(worker)
        one.hear()
        add, left = slotfile.Reader._add, [20]

        def handle_it(*_):
            if handler == "raises":
                raise KeyboardInterrupt
            handle.collect()

        def interrupted(*arguments):
            add(*arguments)
            left[0] -= 1
            if not left[0]:
                os.kill(os.getpid(), signal.SIGUSR1)

        signal.signal(signal.SIGUSR1, handle_it)
        slotfile.Reader._add = interrupted
        with contextlib.suppress(KeyboardInterrupt):
            handle.collect()
        found = [sum(v for k, v in counted(handle).items() if k[0] == "c_total") for _ in range(2)]
        one.kill()
        return found

    assert program(body) == [50, 50]


@pytest.mark.parametrize("who", ["thread", "process"])
def test_two_that_put_the_dead_together_at_the_same_time_lose_nothing(folder, who):
    """The second comes when the first is about to write, and somebody has died in between."""

    def worker(_):
        run("w")

    def body():
        handle = together(folder)
        dump = dead.Dead.dump
        writing, go_on = threading.Event(), threading.Event()

        def slowly(*arguments):
            dead.Dead.dump = dump
            text = dump(*arguments)
            writing.set()
            go_on.wait(10)
            return text

        def second(_):
            return [runs(flowgauge.setup_observability(serve=False), "w") for _ in range(2)]

        Process(worker).wait()
        dead.Dead.dump = slowly
        first = threading.Thread(target=handle.collect)
        first.start()
        writing.wait(10)
        Process(worker).wait()
        if who == "thread":
            other = threading.Thread(target=handle.collect)
            other.start()
            time.sleep(0.1)
            seen = [2, 2]
        else:
            seen = Process(second).result()  # it does not wait either
            other = first
        go_on.set()
        first.join()
        other.join()
        return seen, runs(handle, "w"), runs(handle, "w")

    assert program(body) == [[2, 2], 2, 2]


def test_numbers_from_before_the_set_up_move_to_the_directory_exactly_once(folder):
    def scraper(_):
        return list(counted(together(folder)).items())

    def body():
        run("w", 3)
        with contextlib.suppress(KeyError), flowgauge.run("w"):
            raise KeyError
        open_run = flowgauge.run("w")
        open_run.__enter__()
        flowgauge.counter("c_total", labels=["a"]).inc(5, a="x")
        flowgauge.histogram("h").observe(0.2)
        summary = flowgauge.summary("s")
        summary.observe(3)
        records.observe("restore.duration", 2.0, workflow="w")
        alone = counted(flowgauge.setup_observability(serve=False))
        flowgauge.setup_observability(serve=False).close()
        found = []
        for _ in range(2):
            with together(folder) as handle:
                found += [counted(handle), dict(map(_pair, Process(scraper).result()))]
        with together(folder + "-2") as handle:
            found.append(counted(handle))
        open_run.__exit__(None, None, None)
        with together(folder) as handle:
            found.append(
                [
                    own("w").started,
                    own("w").active,
                    handle.value("workflow_active_runs", workflow="w"),
                ]
            )
        return [each == alone for each in found[:-1]], found[-1]

    assert program(body) == [[True] * 5, [5, 0, 0]]


def _pair(item):
    return tuple(item[0]), item[1]


def test_numbers_in_the_buckets_of_several_set_ups_move_to_another_directory_too(folder):
    def body():
        for profile in ("workflow", "contd", "orchestrix", "contd"):
            together(folder, profile=profile).close()
            run("w")
            records.observe("restore.duration", 2.0, workflow="w")
        handle = together(folder + "-2")
        return [
            *numbers(handle),
            *Process(lambda _: numbers(flowgauge.setup_observability(serve=False))).result(),
        ]

    def numbers(handle):
        good = runs(handle, "w")
        role = next(f for r, f in records.families() if r == "restore.duration")
        return [good, role.values[0].count]

    assert program(body) == [4, 4, 4, 4]


def test_a_directory_may_be_named_in_the_environment_after_the_first_number_was_made(folder):
    def worker(_):
        flowgauge.setup_observability(serve=False)
        run("w", 2)

    def body():
        run("w")
        os.environ[slots.MULTIPROCESS] = folder
        Process(worker).result()
        return runs(flowgauge.setup_observability(serve=False), "w")

    assert program(body) == 3


def test_threads_that_count_their_first_numbers_at_the_same_time_are_all_seen_by_others(folder):
    def worker(parent):
        barrier = threading.Barrier(8)

        def first(i):
            barrier.wait()
            flowgauge.counter("c_total", labels=["i"]).inc(i=str(i))
            run(f"w{i}")

        threads = [threading.Thread(target=first, args=(i,)) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        parent.say()
        parent.hear()

    def body():
        # The fork finds a process that has not decided yet.
        os.environ[slots.MULTIPROCESS] = folder
        one = Process(worker)
        one.hear()
        found = counted(together(folder))
        one.kill()
        return [
            sum(v for k, v in found.items() if k[0] == name)
            for name in ("c_total", "workflow_runs_started_total")
        ]

    assert program(body) == [8, 8]


def test_threads_that_count_while_the_directory_is_chosen_lose_nothing(folder):
    def body():
        running, done = True, [0] * 3

        def load(i):
            while running:
                run(f"w{done[i] % 20}")
                done[i] += 1

        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-5)
        threads = [threading.Thread(target=load, args=(i,)) for i in range(3)]
        for thread in threads:
            thread.start()
        for number in range(10):
            time.sleep(0.01)
            together(f"{folder}-{number}").close()
        running = False
        for thread in threads:
            thread.join()
        sys.setswitchinterval(interval)
        handle = together(folder)
        return sum(
            v for k, v in counted(handle).items() if k[0] == "workflow_runs_started_total"
        ) - sum(done)

    assert program(body) == 0


def test_one_port_is_served_by_several_processes_and_each_answers_for_all(folder, read):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    def worker(parent):
        forget()
        handle = flowgauge.setup_observability(
            multiprocess_dir=folder, host="127.0.0.1", port=port, strict=True
        )
        run("w")
        answered = flowgauge.counter("answered_total", labels=["pid"])
        render = handle._exposition.render
        handle._exposition.render = lambda accept: (answered.inc(pid=os.getpid()), render(accept))[
            1
        ]
        parent.say()
        parent.hear()

    def scrape():
        # A client that keeps its connection stays with one process; each of these is new.
        return read(f"http://127.0.0.1:{port}/metrics")

    workers = [Process(worker) for _ in range(3)]
    try:
        for one in workers:
            one.hear()
        pages = [scrape() for _ in range(40)]
        total = {
            page.value("workflow_runs_total", workflow="w", status="success") for page in pages
        }
        assert total == {3}
        assert len(pages[-1].labels("answered_total")) == 3
        while len(workers) > 1:
            workers.pop().kill()
            pages = [scrape() for _ in range(10)]
            total = {p.value("workflow_runs_total", workflow="w", status="success") for p in pages}
            assert total == {3}
    finally:
        for one in workers:
            one.kill()


@pytest.mark.parametrize("directory", ["", "/proc/no/such/directory"])
def test_a_port_is_shared_only_where_processes_are_one_program(directory):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    def body():
        os.environ[slots.MULTIPROCESS] = directory
        arguments = {"host": "127.0.0.1", "port": port, "strict": True}
        first = flowgauge.setup_observability(**arguments)

        def second(_):
            try:
                flowgauge.setup_observability(**arguments)
            except flowgauge.EndpointError as error:
                return str(error)
            return "served"

        with first:
            return Process(second).result()

    assert "FLOWGAUGE_PORT" in program(body)
