"""Forked children for the tests."""

import os
import select
import signal
import traceback

import pytest


def in_child(function, seconds=20):
    """What `function` returns as text in a forked child; fails if the child hangs or raises."""
    readable, writable = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.write(writable, str(function()).encode())
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(writable)
    try:
        if not select.select([readable], [], [], seconds)[0]:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            pytest.fail("the child hangs")
        answer = os.read(readable, 65536).decode()
    finally:
        os.close(readable)
    assert os.waitpid(pid, 0)[1] == 0
    return answer
