"""`@workflow` and `@step`: measure a function wherever it is called, and change nothing else about it.

Both go on plain functions, coroutine functions, generators, asynchronous generators, methods, and
above or below `@staticmethod` and `@classmethod`. Whatever the function raises goes on unchanged. A
plain function that returns an awaitable is measured until it returns it: write `async def` instead.
"""

from __future__ import annotations

from flowgauge import retrying, wrapping
from flowgauge.probes import RunProbe, StepProbe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar, overload

    F = TypeVar("F", bound="Callable[..., Any] | classmethod[Any, Any, Any]")
    _Wrap = Callable[[wrapping.Function, str], wrapping.Function]
else:

    def overload(function: Any) -> Any:
        """Stand in for the one of `typing`, which is not loaded for this."""
        return function


@overload
def workflow(function: F, /) -> F: ...
@overload
def workflow(
    *, name: str | None = None, trigger: str = "manual", kind: str = ""
) -> Callable[[F], F]: ...
def workflow(
    function: F | None = None,
    /,
    *,
    name: str | None = None,
    trigger: str = "manual",
    kind: str = "",
) -> F | Callable[[F], F]:
    """Measure each call of the function as a run of a workflow.

    `name` defaults to the function's name. `trigger` tells what starts the runs (manual, schedule,
    event) and `kind` the sort of workflow, in vocabularies that have such labels. Its series exist
    from decoration on. A cancelled run (`asyncio.CancelledError`, a coroutine that is closed before its
    end) counts as cancelled, every other exception as failed. A generator that is closed early has
    ended well: its consumer had enough.

    Raises:
        TypeError: what is decorated is no function.

    """

    def wrap(target: wrapping.Function, own_name: str) -> wrapping.Function:
        return wrapping.measured(target, RunProbe(name or own_name, trigger=trigger, kind=kind))

    return _decorate(function, wrap, "workflow")


@overload
def step(function: F, /) -> F: ...
@overload
def step(
    *,
    name: str | None = None,
    workflow: str = "",
    retries: int = 0,
    backoff: float = 0.0,
    retry_on: tuple[type[Exception], ...] = (Exception,),
) -> Callable[[F], F]: ...
def step(
    function: F | None = None,
    /,
    *,
    name: str | None = None,
    workflow: str = "",
    retries: int = 0,
    backoff: float = 0.0,
    retry_on: tuple[type[Exception], ...] = (Exception,),
) -> F | Callable[[F], F]:
    """Measure each call of the function as a step of the run that calls it.

    `name` defaults to the function's name. The run is known by a context variable, which tasks
    inherit and threads of a pool do not; `workflow` names the workflow for calls outside every run,
    and makes the series of the step exist from decoration on instead of from its first call.

    With `retries`, a call that raises one of `retry_on` is made again, at most that often, after
    `backoff` seconds, then twice that and so on, at most a minute. It is one step: its duration
    covers all attempts and pauses, an attempt that is retried counts as a retry only, and the step
    fails when the last attempt does.

    Raises:
        TypeError: what is decorated is no function, or a generator is to be retried.
        ValueError: `retries` or `backoff` is negative.

    """
    policy = retrying.Policy(retries, backoff, retry_on)

    def wrap(target: wrapping.Function, own_name: str) -> wrapping.Function:
        probe = StepProbe(name or own_name, workflow=workflow)
        if policy.retries:
            target = retrying.retrying(target, policy, probe.retry)
        return wrapping.measured(target, probe)

    return _decorate(function, wrap, "step")


def _decorate(function: F | None, wrap: _Wrap, decorator: str) -> F | Callable[[F], F]:
    def apply(target: F) -> F:
        applied: F = _applied(target, wrap, decorator)
        return applied

    return apply if function is None else apply(function)


def _applied(target: Any, wrap: _Wrap, decorator: str) -> Any:
    if isinstance(target, staticmethod | classmethod):
        return type(target)(_applied(target.__func__, wrap, decorator))
    if not callable(target) or isinstance(target, type):
        raise TypeError(
            f"@{decorator} goes on a function, not on {target!r}; a name is given as name=..."
        )
    return wrap(target, _name(target))


def _name(target: Any) -> str:
    while hasattr(target, "func") and not hasattr(target, "__name__"):  # functools.partial
        target = target.func
    return str(getattr(target, "__name__", None) or type(target).__name__)
