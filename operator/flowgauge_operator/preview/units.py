"""Numbers as Grafana writes them in its units. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

_SI = ("n", "µ", "m", "", "K", "M", "G", "T", "P", "E", "Z", "Y")
_SHORT = ("", " K", " Mil", " Bil", " Tri", " Quadr", " Quint", " Sext", " Sept")
_IEC = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi")
_TIMES = (
    (1e-9, "ns"), (1e-6, "µs"), (1e-3, "ms"), (1, "s"), (60, "min"), (3600, "hour"), (86400, "day"),
    (604800, "week"), (31536000, "year"),
)  # fmt: skip
_PLURAL = {"hour", "day", "week", "year"}
_TIME_STEPS = (
    1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400,
    172800, 604800, 1209600, 2419200, 31536000,
)  # fmt: skip
_LONG = (("year", 31536000), ("month", 2628000), ("week", 604800), ("day", 86400), ("hour", 3600),
         ("minute", 60), ("second", 1))  # fmt: skip
_SECONDS = {"ns": 1e-9, "µs": 1e-6, "us": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "h": 3600, "d": 86400}
_BINARY = {
    "bytes": "B",
    "bits": "b",
    "kbytes": "B",
    "mbytes": "B",
    "binBps": "B/s",
    "binbps": "b/s",
}
_DECIMAL = {"decbytes": "B", "decbits": "b", "Bps": "B/s", "bps": "b/s", "hertz": "Hz", "watt": "W"}
_COUNTS = {
    "cps": "c/s", "ops": "ops/s", "reqps": "req/s", "rps": "rd/s", "wps": "wr/s", "iops": "io/s",
    "pps": "p/s", "eps": "evt/s", "mps": "msg/s", "cpm": "c/m", "opm": "ops/m", "rpm": "rpm",
    "reqpm": "req/m",
}  # fmt: skip
_MONEY = {"currencyUSD": "$", "currencyEUR": "€", "currencyGBP": "£", "currencyCHF": "CHF"}


@dataclass(frozen=True, slots=True)
class Scale:
    """How numbers of a size are written: divided by `factor`, between `before` and `after`."""

    factor: float
    after: str = ""
    before: str = ""


def text(value: float, unit: str = "", decimals: int | None = None) -> str:
    """A number in its unit."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "-∞" if value < 0 else "∞"
    if unit.startswith("dateTime"):
        return _date(value, unit)
    if unit in {"dtdurations", "dtdurationms"}:
        return _long(value / (1000 if unit.endswith("ms") else 1))
    if unit in {"bool", "bool_yes_no", "bool_on_off"}:
        words = {"bool_yes_no": ("Yes", "No"), "bool_on_off": ("On", "Off")}
        return words.get(unit, ("True", "False"))[value == 0]
    found = scale(value, unit)
    return f"{found.before}{fixed(value / found.factor, decimals)}{found.after}"


def scale(value: float, unit: str) -> Scale:
    """The scale for a number of this size."""
    size = abs(value)
    if unit in {"percentunit", "percent"}:
        return Scale(0.01 if unit == "percentunit" else 1, "%")
    if unit in _SECONDS:
        own = _SECONDS[unit]
        fitting = [(large, name) for large, name in _TIMES if size * own >= large * (1 - 1e-9)]
        large, name = fitting[-1] if fitting else ((own, unit) if not size else _TIMES[0])
        plural = "s" if name in _PLURAL and size * own >= 2 * large else ""
        return Scale(large / own, f" {name}{plural}")
    if unit in _BINARY:
        start = {"kbytes": 1, "mbytes": 2}.get(unit, 0)
        power = _power(size, 1024, len(_IEC) - 1 - start)
        return Scale(1024**power, f" {_IEC[power + start]}{_BINARY[unit]}")
    return _decimal(size, unit)


def _decimal(size: float, unit: str) -> Scale:
    if unit in _DECIMAL or unit.startswith("si:"):
        power = _power(size, 1000, 8)
        if 0 < size < 1:
            power = max(math.floor(math.log10(size) / 3), -3)
        return Scale(
            1000.0**power, f" {_SI[power + 3]}{_DECIMAL.get(unit, unit.removeprefix('si:'))}"
        )
    if unit in _COUNTS or unit == "short":
        power = _power(size, 1000, len(_SHORT) - 1)
        name = f" {_COUNTS[unit]}" if unit in _COUNTS else ""
        return Scale(1000**power, f"{_SHORT[power]}{name}")
    if unit in _MONEY:
        power = _power(size, 1000, 8)
        return Scale(1000**power, _SI[power + 3] if power else "", _MONEY[unit])
    return _named(unit)


def _named(unit: str) -> Scale:
    if unit in {"", "none", "sishort", "string"}:
        return Scale(1)
    kind, _, rest = unit.partition(":")
    if kind == "prefix":
        return Scale(1, before=rest)
    # Grafana writes a unit that it does not know behind the number.
    return Scale(1, f" {rest if kind == 'suffix' else unit}")


def _power(size: float, base: int, most: int) -> int:
    return min(max(math.floor(math.log(size, base) + 1e-12), 0), most) if size else 0


def fixed(value: float, decimals: int | None = None) -> str:
    """A number with so many decimals, or as many as Grafana finds fitting."""
    places = _places(value) if decimals is None else max(decimals, 0)
    written = f"{math.floor(abs(value) * 10**places + 0.5) / 10**places:.{min(places, 15)}f}"
    return f"-{written}" if value < 0 and float(written) else written


def _places(value: float) -> int:
    if value == int(value) or abs(value) < 1e-15:
        return 0
    return min(max(2 - math.floor(math.log10(abs(value))), 0), 15) if value else 0


def ticks(low: float, high: float, unit: str, most: int = 5) -> Sequence[tuple[float, str]]:
    """Round numbers between two with their labels."""
    if not low < high or not math.isfinite(high - low):
        return []
    # Times go from one scale to the next within an axis, as 45 s is followed by 1 min; all else keeps to one.
    is_time = unit in _SECONDS
    found = Scale(1 / _SECONDS[unit]) if is_time else scale(max(abs(low), abs(high)), unit)
    step = _round_step((high - low) / found.factor / max(most, 1), unit)
    first = math.ceil(low / found.factor / step - 1e-9)
    last = math.floor(high / found.factor / step + 1e-9)
    numbers = [k * step for k in range(first, last + 1)]
    if is_time:
        return [(n * found.factor, _tick_time(n)) for n in numbers]
    decimals = _decimals(step)
    return [(n * found.factor, f"{found.before}{fixed(n, decimals)}{found.after}") for n in numbers]


def _tick_time(seconds: float) -> str:
    found = scale(seconds, "s")
    return f"{round(seconds / found.factor, 3):g}{found.after}"


def _decimals(step: float) -> int:
    """How many decimals tell multiples of the step apart."""
    return next(n for n in range(16) if n == 15 or math.isclose(round(step, n), step, rel_tol=1e-6))


def _round_step(least: float, unit: str) -> float:
    special: tuple[int, ...] = ()
    if unit in _SECONDS:
        special = _TIME_STEPS
    elif unit in _BINARY:
        special = tuple(2**power for power in range(11))
    if special and 0.5 < least <= special[-1]:
        return next(step for step in special if step >= least)
    power = 10.0 ** math.floor(math.log10(least))
    return next(
        power * step for step in (1, 2, 2.5, 5, 10, 20) if power * step >= least * (1 - 1e-9)
    )


def _date(value: float, unit: str) -> str:
    try:
        found = datetime.fromtimestamp(value / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return "Invalid date"
    return (
        found.strftime("%Y-%m-%d %H:%M:%S")
        if "Iso" in unit or "From" not in unit
        else found.isoformat()
    )


def _long(seconds: float) -> str:
    rest, parts = abs(seconds), []
    for name, size in _LONG:
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count:.0f} {name}{'s' if count > 1 else ''}")
    return ", ".join(parts[:2]) or "0 seconds"
