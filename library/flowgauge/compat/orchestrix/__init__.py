"""Instead of `orchestrix.infrastructure.prometheus_metrics`, `orchestrix.infrastructure` and `orchestrix.core.message`.

    from flowgauge.compat.orchestrix import Command, Event, InMemoryMessageBus, MetricsConfig, init_metrics

Messages, handlers and event stores are measured without a line of the program's own; a store that the program brings
along is measured by `measured_store`.
"""

from flowgauge.compat.orchestrix.bus import (
    HandlerError,
    InMemoryAsyncMessageBus,
    InMemoryMessageBus,
)
from flowgauge.compat.orchestrix.endpoint import MetricsConfig, init_metrics
from flowgauge.compat.orchestrix.messages import Command, Event, Message
from flowgauge.compat.orchestrix.store import (
    ConcurrencyError,
    InMemoryAsyncEventStore,
    InMemoryEventStore,
    measured_store,
)

__all__ = [
    "Command",
    "ConcurrencyError",
    "Event",
    "HandlerError",
    "InMemoryAsyncEventStore",
    "InMemoryAsyncMessageBus",
    "InMemoryEventStore",
    "InMemoryMessageBus",
    "Message",
    "MetricsConfig",
    "init_metrics",
    "measured_store",
]
