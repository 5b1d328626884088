import math

import pytest

from flowgauge_operator.preview import units


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [
        (0.9991, "percentunit", "99.9%"),
        (1, "percentunit", "100%"),
        (-0.5, "percentunit", "-50%"),
        (42, "percent", "42%"),
        (0, "s", "0 s"),
        (0.0123, "s", "12.3 ms"),
        (5.3, "s", "5.30 s"),
        (90, "s", "1.50 min"),
        (7200, "s", "2 hours"),
        (3600, "s", "1 hour"),
        (86400 * 3, "s", "3 days"),
        (1500, "ms", "1.50 s"),
        (0, "bytes", "0 B"),
        (1536, "bytes", "1.50 KiB"),
        (5 * 1024**3, "bytes", "5 GiB"),
        (1500, "decbytes", "1.50 KB"),
        (0.25, "cps", "0.250 c/s"),
        (1200, "cps", "1.20 K c/s"),
        (12, "reqps", "12 req/s"),
        (1234567, "short", "1.23 Mil"),
        (999, "short", "999"),
        (1234567, "none", "1234567"),
        (1.5, "currencyUSD", "$1.50"),
        (3, "suffix:runs", "3 runs"),
        (3, "prefix:#", "#3"),
        (3, "furlongs", "3 furlongs"),
        (1, "bool_yes_no", "Yes"),
        (0, "bool", "False"),
        (1_700_000_000_000, "dateTimeAsIso", "2023-11-14 22:13:20"),
        (3725, "dtdurations", "1 hour, 2 minutes"),
        (math.nan, "s", "NaN"),
        (math.inf, "s", "∞"),
        (-math.inf, "", "-∞"),
    ],
)
def test_a_number_is_written_as_grafana_writes_it(value, unit, shown):
    assert units.text(value, unit) == shown


def test_decimals_are_as_many_as_are_asked_for():
    assert units.text(0.98765, "percentunit", 2) == "98.77%"


@pytest.mark.parametrize(
    ("low", "high", "unit", "labels"),
    [
        (0, 1, "percentunit", ["0%", "20%", "40%", "60%", "80%", "100%"]),
        (0, 65, "s", ["0 s", "15 s", "30 s", "45 s", "1 min"]),
        (0, 0.0045, "s", ["0 s", "1 ms", "2 ms", "3 ms", "4 ms"]),
        (0, 3 * 1024**2, "bytes", ["0 MiB", "1 MiB", "2 MiB", "3 MiB"]),
        (0, 5, "short", ["0", "1", "2", "3", "4", "5"]),
        (0, 110, "short", ["0", "25", "50", "75", "100"]),
        (0.97, 1.0, "percentunit", ["97%", "98%", "99%", "100%"]),
    ],
)
def test_an_axis_has_round_labels(low, high, unit, labels):
    assert [label for _, label in units.ticks(low, high, unit)] == labels


@pytest.mark.parametrize(("low", "high"), [(1, 1), (2, 1), (0, math.inf), (math.nan, 1)])
def test_an_axis_without_a_length_has_no_labels(low, high):
    assert units.ticks(low, high, "short") == []


@pytest.mark.parametrize("unit", ["s", "bytes", "short", "percentunit", "cps", "ms", "decbytes"])
@pytest.mark.parametrize("power", range(-9, 16, 3))
def test_labels_of_an_axis_differ_whatever_its_size(unit, power):
    found = [label for _, label in units.ticks(0, 7 * 10.0**power, unit)]

    assert 2 <= len(found) <= 12
    assert len(set(found)) == len(found)
