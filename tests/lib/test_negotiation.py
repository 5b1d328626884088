import pytest

from flowgauge.serving.negotiation import accepts_gzip, media_type

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
PROTOBUF = (
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
)

# What Prometheus 3 sends, without and with native histograms.
PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
PROMETHEUS_NATIVE = (
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.7,"
    + PROMETHEUS
)


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        ("", TEXT),
        ("*/*", TEXT),  # curl
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", TEXT),  # a browser
        (PROMETHEUS, OPENMETRICS),
        (PROMETHEUS_NATIVE, PROTOBUF),
        # The weight decides, not the order.
        ("application/openmetrics-text;q=0.3,text/plain;q=0.7", TEXT),
        ("text/plain;q=0.3,application/openmetrics-text;q=0.7", OPENMETRICS),
        # Among equal weights the order decides.
        ("application/openmetrics-text,text/plain", OPENMETRICS),
        ("text/plain,application/openmetrics-text", TEXT),
        # What is not wanted is not given, also where a wider range would allow it.
        ("text/plain;q=0,*/*;q=0.1", OPENMETRICS),
        ("application/openmetrics-text;q=0, text/plain;q=0.1", TEXT),
        # The most specific range decides the weight.
        ("text/*;q=0.9,text/plain;version=0.0.4;q=0.1,application/*;q=0.5", OPENMETRICS),
        ("application/*;q=0.9,text/*;q=0.5", OPENMETRICS),
        # Versions that we do not have.
        ("application/openmetrics-text;version=2.0.0,text/plain;q=0.1", TEXT),
        ('APPLICATION/OpenMetrics-Text; Version="1.0.0" ; Q=0.9, text/plain;q=0.8', OPENMETRICS),
        # Nothing that we have: rather something than nothing.
        ("image/png", TEXT),
        ("text/plain;q=0,application/*;q=0", TEXT),
        # Nonsense is no wish.
        ("application/openmetrics-text;q=high,text/plain;q=0.1", TEXT),
        ("application/openmetrics-text;q=nan,text/plain;q=0.1", TEXT),
        (",;,=;q=,/,", TEXT),
    ],
)
def test_the_format_is_the_one_that_the_client_likes_best(accept, chosen):
    assert media_type(accept, [TEXT, OPENMETRICS, PROTOBUF]) == chosen


@pytest.mark.parametrize(
    ("accept_encoding", "allowed"),
    [
        ("gzip", True),
        ("gzip, deflate, br", True),
        ("deflate, gzip;q=0.5", True),
        ("x-gzip", True),
        ("*", True),
        ("GZIP; Q=1", True),
        ("gzip;q=0.5, identity;q=0.5", True),
        ("identity;q=0", False),  # gzip was not named
        ("gzip;q=0", False),
        ("gzip;q=0.000", False),
        ("gzip;q=0, *", False),
        ("*;q=0, gzip", True),
        ("gzip;q=0.4, identity;q=0.6", False),
        ("gzip;q=nonsense", False),
        ("deflate", False),
        ("", False),
    ],
)
def test_gzip_is_used_if_the_client_likes_it(accept_encoding, allowed):
    assert accepts_gzip(accept_encoding) == allowed
