"""Why a scrape failed, read from Prometheus' words for it. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cause:
    """What an error of a target means, and what to do."""

    meaning: str
    remedy: str


# The first that matches wins: what is more special comes first.
_CAUSES: tuple[tuple[str, Cause], ...] = (
    (
        r"connection refused",
        Cause(
            "nobody listens on that port of the pod",
            "compare spec.scrape.port with what the program says when it starts; if it listens on 127.0.0.1 only, let it"
            " listen on the pod's address (FLOWGAUGE_HOST=0.0.0.0)",
        ),
    ),
    (
        r"status 404",
        Cause(
            "the port answers, but not at this path",
            "set spec.scrape.path to where the metrics are",
        ),
    ),
    (
        r"status 40[13]",
        Cause(
            "the endpoint wants credentials, or refuses those it gets",
            "set spec.scrape.authorization to a Secret with a token that the program accepts",
        ),
    ),
    (
        r"server gave HTTP response to HTTPS client",
        Cause("the endpoint speaks http, and https was asked for", "set spec.scrape.scheme: http"),
    ),
    (
        r"malformed HTTP (response|version)|HTTP request to an HTTPS server|status 400",
        Cause(
            "the endpoint does not understand plain http, as one that wants https",
            "set spec.scrape.scheme: https with spec.scrape.tls, or name the port of the metrics",
        ),
    ),
    (
        r"x509|certificate|tls:",
        Cause(
            "the certificate of the endpoint is not accepted, or ours is not",
            "set spec.scrape.tls: ca for its authority, serverName for the name in it, cert and keySecret for ours",
        ),
    ),
    (
        r"body size",
        Cause(
            "the page is larger than enforcedBodySizeLimit of the Prometheus object",
            "expose less, or raise that limit",
        ),
    ),
    (
        r"(sample|label|label_name|label_value|bucket)[_ a-z]*limit.*exceeded|limit exceeded|exceeds limit",
        Cause(
            "the target exposes more than the limit admits, so the whole scrape is dropped",
            "find the label with many values first; if so many are meant, raise spec.scrape.limits, or the enforced limits"
            " of the Prometheus object",
        ),
    ),
    (
        r"deadline exceeded|i/o timeout|Client\.Timeout",
        Cause(
            "the endpoint does not answer in time",
            "if it never does, see the finding on NetworkPolicies; if it is slow, raise spec.scrape.timeout and interval",
        ),
    ),
    (
        r"no route to host|network is unreachable",
        Cause(
            "the pod's address cannot be reached",
            "see whether the pod still runs, and the finding on NetworkPolicies",
        ),
    ),
    (
        r"status 5\d\d",
        Cause("the program fails while it answers", "look at its log: kubectl logs"),
    ),
    (
        r"Content-Type|expected .*got|invalid|unexpected|parse|text format|utf-8",
        Cause(
            "what is served there is no page of metrics",
            "curl it; name the port and the path of the metrics in spec.scrape",
        ),
    ),
    (
        r"EOF|connection reset|broken pipe",
        Cause("the connection ends in the middle", "look at the program's log; does it restart?"),
    ),
)
_ELSE = Cause("Prometheus could not scrape it", "try it from a pod beside Prometheus with curl")


def of(message: str) -> Cause:
    """The cause that a target's last error speaks of."""
    return next((cause for text, cause in _CAUSES if re.search(text, message)), _ELSE)


def every() -> list[Cause]:
    """All causes that are known, for the documentation."""
    return [*(cause for _, cause in _CAUSES), _ELSE]
