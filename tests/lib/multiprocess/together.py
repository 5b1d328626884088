"""Processes that are one program, for the tests: started, killed, and what they counted."""

import contextlib
import ctypes
import http.client
import itertools
import json
import logging
import os
import select
import signal
import sys
import time
import traceback

import pytest

import flowgauge
from flowgauge import (
    cells,
    declared,
    records,
    slots,
)
from flowgauge.metrics import Distribution, Quantiles


class Process:
    """A forked process that runs `body` with two pipes: `say` and `hear`. It ends as if it had crashed, without any care."""

    def __init__(self, body, *arguments):
        self._from_child, to_parent = os.pipe()
        from_parent, self._to_child = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            status = 1
            if sys.platform == "linux":  # a test that fails leaves nobody behind
                ctypes.CDLL(None).prctl(1, signal.SIGKILL)
            self._from_child, self._to_child = from_parent, to_parent
            try:
                result = body(self, *arguments)
                os.write(to_parent, b"=" + json.dumps(result).encode())
                status = 0
            except BaseException:
                os.write(to_parent, b"!" + traceback.format_exc().encode())
            finally:
                os._exit(status)
        os.close(to_parent)
        os.close(from_parent)

    def say(self):
        """Let the other end of the pipes go on."""
        os.write(self._to_child, b".")

    def hear(self, seconds=20):
        """Wait until the other end says so."""
        assert select.select([self._from_child], [], [], seconds)[0], "nothing comes"
        answer = os.read(self._from_child, 1)
        if answer != b".":
            pytest.fail((answer + self._rest()).decode())

    def kill(self):
        """SIGKILL, and wait for the end."""
        os.kill(self.pid, signal.SIGKILL)
        self.wait()

    def wait(self):
        """The status of the end."""
        status = os.waitpid(self.pid, 0)[1]
        os.close(self._from_child)
        os.close(self._to_child)
        return status

    def result(self, seconds=150):
        """What `body` returned; the test fails if the process hangs or raised."""
        text = bytearray()
        end = time.monotonic() + seconds
        while select.select([self._from_child], [], [], max(end - time.monotonic(), 0))[0]:
            part = os.read(self._from_child, 65536)
            if not part:
                break
            text += part
        else:
            self.kill()
            pytest.fail("the process hangs")
        self.wait()
        answer = bytes(text).lstrip(b".")
        if not answer.startswith(b"="):
            pytest.fail(answer.decode() or "the process died")
        return json.loads(answer[1:])

    def _rest(self):
        return os.read(self._from_child, 65536)


def program(body, *arguments):
    """What `body` returns in a process of its own, in which nothing was measured yet."""

    def alone(_, *given):
        forget()
        return body(*given)

    return Process(alone, *arguments).result()


def forget():
    """Forget the names of the tests before: they use up those that a process tells apart, and pages are long with them."""
    for known in cells._cells.values():
        known.clear()
    for collector in (declared.collector, records._collector):
        collector._instruments.clear()
    slots._storage = None  # decided for what was measured before, when this process was forked


def together(folder, **arguments):
    """Set up multi-process mode in this process."""
    return flowgauge.setup_observability(serve=False, multiprocess_dir=folder, **arguments)


def run(name, times=1):
    for _ in range(times):
        with flowgauge.run(name):
            pass


def runs(handle, name, status="success"):
    return handle.value("workflow_runs_total", workflow=name, status=status)


def own(name):
    """What this process alone counted."""
    return cells.run_cell(name, trigger="manual").snapshot()


def counted(handle):
    """All counters of a page: those with `_total`, buckets, counts and sums."""
    found = {}
    for family in handle.collect():
        if family.name.startswith(("process_", "python_")):
            continue
        for key, value in zip(family.keys, family.values, strict=True):
            if isinstance(value, Distribution):
                found |= {
                    (family.name, *key, i): n
                    for i, n in enumerate(itertools.accumulate(value.counts))
                }
                found[family.name, *key, "sum"] = value.sum
            elif isinstance(value, Quantiles):
                found[family.name, *key] = value.count
            elif family.kind == "counter":
                found[family.name, *key] = value
    return found


def files(folder):
    return sorted(name for name in os.listdir(folder) if ".slots" in name)


@contextlib.contextmanager
def warnings():
    """What the library logs meanwhile."""
    lines = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    logger = logging.getLogger("flowgauge")
    logger.addHandler(handler)
    try:
        yield lines
    finally:
        logger.removeHandler(handler)


def ignore(call, *arguments):
    with contextlib.suppress(OSError, http.client.HTTPException):
        call(*arguments)
