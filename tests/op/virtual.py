"""Run a test in virtual time: a sleep of five minutes takes no time, and the order of things is always the same."""

import asyncio
import selectors


class _Selector(selectors.DefaultSelector):
    """Poll instead of waiting, and move the loop's clock by the time that would have been waited."""

    loop = None

    def select(self, timeout=None):
        if timeout is None:
            raise RuntimeError("nothing will ever happen any more")
        self.loop.now += timeout
        return super().select(0)


class Loop(asyncio.SelectorEventLoop):
    def __init__(self):
        selector = _Selector()
        super().__init__(selector)
        selector.loop = self
        self.now = 1000.0

    def time(self):
        return self.now


def run(coroutine):
    with asyncio.Runner(loop_factory=Loop) as runner:
        return runner.run(coroutine)
