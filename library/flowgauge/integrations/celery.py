"""Measure the tasks of a Celery application: each execution is a run of the workflow named like the task.

    from flowgauge.integrations.celery import instrument

    instrument(app)

Works by Celery's signals, in every pool. The worker's main process serves the metrics; children of the prefork pool
keep their numbers where it finds them.
"""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
from asyncio import CancelledError
from collections.abc import Callable
from datetime import UTC, datetime
from functools import wraps
from time import time
from typing import Any, Final
from weakref import WeakKeyDictionary

try:
    from celery import Celery, signals, states  # type: ignore[import-untyped]
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "flowgauge.integrations.celery needs Celery: pip install celery", name=error.name
    ) from error

from flowgauge import blocks, guard, multiprocess, observability, records, slots

# When a message was published or, if that is later, when it is due; Unix seconds on the publisher's clock.
HEADER: Final = "flowgauge_due"

_PREFORK: Final = ("prefork", "processes", "celery.concurrency.prefork")
# The application's own tasks only; chord_unlock alone is retried every second.
_BUILT_IN: Final = "celery."


def _ending(name: str) -> type[CancelledError]:
    return type(name, (CancelledError,), {})


# What ends an execution without a result and is no error of the task, by the name that is counted.
_REJECT: Final = _ending("Reject")
_REVOKED: Final = _ending("Revoked")
_TERMINATED: Final = _ending("Terminated")

_settings: WeakKeyDictionary[Any, dict[str, Any]] = WeakKeyDictionary()
# Executions in progress, by their request. Weak, since an execution that dies has no end.
_runs: WeakKeyDictionary[Any, blocks.Block] = WeakKeyDictionary()


class _Worker:
    """What this process opened as a worker, to be closed when it shuts down."""

    endpoint: observability.Observability | None = None
    folder = ""
    pid = 0


def instrument(app: Any, **settings: Any) -> Any:
    """Measure every task of `app` but Celery's own, and serve the metrics where the application is a worker.

    `settings` are those of `setup_observability`, which a worker calls when it starts, unless the program has done so.
    Call it once, at the module that makes the application, so that publishers, workers and their children all have
    it. Returns the application.

    An execution counts as good, failed with the type of the exception, cancelled (revoked, rejected for good,
    terminated) or skipped: ended by a retry, which `run.retried` counts, or put back into its queue.

    Raises:
        TypeError: `app` is no Celery application.

    """
    made = getattr(app, "_get_current_object", lambda: app)()  # celery.current_app is a proxy
    # Nothing of it is looked at: that would load its configuration before the program has completed it.
    if not isinstance(made, Celery):
        raise TypeError(f"app is a {type(made).__name__}, must be a Celery application")
    _settings[made] = settings
    for signal, receiver in _RECEIVERS:
        signal.connect(receiver, weak=False)  # a second time changes nothing
    return app


def _guarded(receiver: Callable[..., None]) -> Callable[..., None]:
    @wraps(receiver)
    def safe(*args: Any, **kwargs: Any) -> None:
        try:
            receiver(*args, **kwargs)
        except Exception as error:
            guard.report("celery", error)

    return safe


@_guarded
def _published(headers: dict[str, Any] | None = None, **_: Any) -> None:
    if headers is not None:
        headers[HEADER] = max(time(), _due(headers.get("eta")))


@_guarded
def _begin(task: Any, **_: Any) -> None:
    if not _is_measured(task):
        return
    run = blocks.run(task.name, trigger="event")
    _runs[task.request] = run
    run.__enter__()
    due = (task.request.headers or {}).get(HEADER)
    if due is not None:  # not where a task is applied in place
        queue = (task.request.delivery_info or {}).get("routing_key") or ""
        # Clocks of two machines differ; a message is never early.
        delay = max(0.0, time() - float(due))
        records.observe("queue.delay", delay, queue=queue, workflow=task.name)


@_guarded
def _end(task: Any, state: str | None = None, retval: Any = None, **_: Any) -> None:
    run = _runs.pop(task.request, None)
    if run is not None:
        if state == states.RETRY or (
            state == states.REJECTED and getattr(retval, "requeue", False)
        ):
            run.skip()  # it is not over: the message comes again
        error = _error(state, retval)
        run.__exit__(None if error is None else type(error), error, None)


@_guarded
def _retried(sender: Any, **_: Any) -> None:
    if _is_measured(sender):
        records.count("run.retried", workflow=sender.name)


@_guarded
def _revoked(sender: Any, terminated: bool = False, **_: Any) -> None:
    # One that runs already is counted by the process that runs it.
    if _is_measured(sender) and not terminated:
        run = blocks.run(sender.name, trigger="event")
        run.__enter__()
        run.__exit__(_REVOKED, _REVOKED(), None)


@_guarded
def _worker_begins(sender: Any, **_: Any) -> None:
    settings = _settings.get(sender.app)
    if settings is None:
        return
    if _forks(sender.pool_cls):
        _share()
    _Worker.pid = os.getpid()
    atexit.register(_worker_ends)  # a cold shutdown sends no signal
    if observability.current() is None:
        _Worker.endpoint = observability.setup_observability(**settings)
    for name in sender.app.tasks:
        if not name.startswith(_BUILT_IN):
            blocks.run(name, trigger="event")  # at zero, so that the first failure is an increase


@_guarded
def _worker_ends(**_: Any) -> None:
    if _Worker.pid != os.getpid():
        return  # a child
    endpoint, _Worker.endpoint = _Worker.endpoint, None
    if endpoint is not None:
        endpoint.close()
    folder, _Worker.folder = _Worker.folder, ""
    if folder:
        os.environ.pop(slots.MULTIPROCESS, None)
        shutil.rmtree(folder, ignore_errors=True)


_RECEIVERS: Final = (
    (signals.before_task_publish, _published),
    (signals.task_prerun, _begin),
    (signals.task_postrun, _end),
    (signals.task_retry, _retried),
    (signals.task_revoked, _revoked),
    (signals.worker_init, _worker_begins),
    (signals.worker_shutdown, _worker_ends),
)


def _is_measured(task: Any) -> bool:
    return task.app in _settings and not task.name.startswith(_BUILT_IN)


def _error(state: str | None, retval: Any) -> BaseException | None:
    """What the execution raised, as far as it counts; Ignore is how a task ends itself, or is replaced by another."""
    if state in (states.SUCCESS, states.IGNORED, states.RETRY):
        return None
    if state == states.REJECTED:
        return None if getattr(retval, "requeue", False) else _REJECT()
    if isinstance(retval, BaseException):
        return retval
    # No state: the execution did not come to its end. The signal is sent while the exception is on its way.
    raised = sys.exc_info()[1]
    return _TERMINATED() if raised is None or isinstance(raised, SystemExit) else raised


def _due(eta: str | None) -> float:
    if not eta:
        return 0.0
    moment = datetime.fromisoformat(eta)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _forks(pool: Any) -> bool:
    return (pool if isinstance(pool, str) else pool.__module__).partition(":")[0] in _PREFORK


def _share() -> None:
    """Make the children's numbers visible, in a folder of our own if none was chosen."""
    if os.environ.get(slots.MULTIPROCESS):
        return
    try:
        folder = tempfile.mkdtemp(prefix="flowgauge-")
        _Worker.folder = folder
        multiprocess.share(folder)
        os.environ[slots.MULTIPROCESS] = folder
    except OSError as error:
        guard.warn(
            "celery prefork",
            f"what tasks do in child processes is not counted, since there is no folder for it ({error}); set"
            f" {slots.MULTIPROCESS} to one that can be written to, such as an emptyDir volume",
        )
