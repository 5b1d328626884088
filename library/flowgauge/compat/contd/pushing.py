"""contd's pusher, for jobs that end before anybody scrapes them."""

from __future__ import annotations

from typing import Any

from flowgauge.push import Pusher


class MetricsPusher(Pusher):
    """Pushes what this process measured to a Pushgateway: in contd's names, or in those of what is set up.

    `instance` is a label of the group. Without it there is one group to a job, which each push replaces; a group for
    each process would stay in the gateway for ever. The other arguments are those of `flowgauge.Pusher`.

    Raises:
        ValueError: an argument cannot be used; the message names it.

    """

    def __init__(
        self,
        gateway_url: str | None = None,
        job_name: str = "contd",
        instance: str | None = None,
        **options: Any,
    ) -> None:
        grouping = dict(options.pop("grouping", None) or {})
        if instance is not None:
            grouping["instance"] = instance
        options.setdefault("render", _page)
        super().__init__(gateway_url, job_name, grouping=grouping, **options)


def _page() -> bytes:
    from flowgauge import observability  # noqa: PLC0415 - loads what serving needs

    return observability.render_current(profile="contd").body
