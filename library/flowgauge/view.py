"""Everything that this program measures, in the names of one profile, as families at one instant."""

from __future__ import annotations

import sys
from _thread import RLock
from collections.abc import Callable, Iterable, Iterator
from importlib import metadata
from time import perf_counter

from flowgauge import cells, forks, guard, readings, records, slots
from flowgauge.bins import GRID
from flowgauge.declared import collector as declared
from flowgauge.metrics import MetricFamily, Value
from flowgauge.profiles.types import Profile


class View:
    """Reads what decorated functions measured and what was recorded by hand, and the program's own metrics.

    `native` adds native histograms. `objective` is the ratio of good runs that vocabularies which tell SLO
    compliance themselves compare with. `more` are further sources, such as the process.
    """

    def __init__(
        self,
        profile: Profile,
        *,
        native: bool = False,
        objective: float = 0.99,
        more: tuple[Callable[[], Iterable[MetricFamily]], ...] = (),
    ) -> None:
        self.profile = profile
        self._vocabulary = readings.vocabulary(profile, native=native, objective=objective)
        self._more = more

    def bind(self) -> None:
        """Count durations and other observations in the buckets of the profile from now on."""
        global _binding  # noqa: PLW0603 - a process has one set of cells
        with _lock:
            if _binding:
                return  # what interrupted the same thread; to wait for it would be for ever
            _binding = True
            try:
                self._bind()
            finally:
                _binding = False

    def _bind(self) -> None:
        cells.rebind("run", self._vocabulary.bounds("run"))
        cells.rebind("step", self._vocabulary.bounds("step"))
        records.bind(self._vocabulary.recorded())

    def unbind(self) -> None:
        """Count in fine buckets again, so that what comes before the next set-up falls into any profile's."""
        cells.rebind("run", GRID)
        cells.rebind("step", GRID)

    def collect(self) -> list[MetricFamily]:
        """The families of this instant, each name once, in the order of the profile."""
        slots.settle()
        _refresh()
        return readings.combined(self._families())

    def described(self) -> list[MetricFamily]:
        """The families of the profile without series."""
        names = {r.family.name: r.family for r in self._vocabulary.readers}
        return [MetricFamily(f.name, f.type, f.help, (), [], []) for f in names.values()]

    def _families(self) -> Iterator[MetricFamily]:
        snapshots: dict[cells.Scope, cells.Cells] = {
            "run": cells.snapshots("run"),
            "step": cells.snapshots("step"),
        }
        recorded = _recorded()
        now = perf_counter()
        for reader in self._vocabulary.readers:
            try:
                yield reader.read(snapshots, recorded, now)
            except Exception as error:
                guard.report(f"reading {reader.family.name}", error)
        for source in (declared.collect_all, *self._more):
            try:
                yield from source()
            except Exception as error:
                guard.report("reading metrics", error)


# One thread at a time moves what was counted.
_lock = RLock()
_binding = False


def version() -> str:
    """The version of this library, `unknown` where it runs without being installed."""
    try:
        return metadata.version("flowgauge")
    except metadata.PackageNotFoundError:
        return "unknown"


def _recorded() -> readings.Records:
    found: dict[str, list[tuple[readings.Labels, Value]]] = {}
    for role, family in records.families():
        found[role] = [
            (dict(zip(family.labels, key, strict=True)), value)
            for key, value in zip(family.keys, family.values, strict=True)
        ]
    dropped = cells.dropped() + records.dropped() + declared.dropped[0] + _number("dropped")
    found["series.dropped"] = [({}, dropped)]
    found["library.info"] = [({"version": version()}, 1.0)]
    return found


def _refresh() -> None:
    # Loaded only where several processes are one program.
    shared = sys.modules.get("flowgauge.multiprocess")
    if shared is not None:
        shared.refresh()


def _number(name: str) -> float:
    """What other processes of the program counted under this name."""
    shared = sys.modules.get("flowgauge.multiprocess")
    return sum(run[0] for run in shared.runs(("number", name))) if shared is not None else 0.0


def _reset() -> None:
    global _lock, _binding
    _lock, _binding = RLock(), False


forks.on_fork(_reset)
