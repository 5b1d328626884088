"""Names made of data stay few."""

import json
import os
from pathlib import Path

import pytest
from together import Process, program, run, together, warnings

import flowgauge
from flowgauge import (
    cells,
    declared,
    slots,
)

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def test_names_that_are_made_of_data_in_many_processes_are_few_in_the_end_and_no_count_is_lost(
    folder, monkeypatch
):
    monkeypatch.setattr(cells, "LIMIT", 50)
    monkeypatch.setattr(declared.collector, "_limit", 40)

    def worker(parent, number):
        counter = flowgauge.counter("c_total", labels=["i"])
        histogram = flowgauge.histogram("h", labels=["i"])
        summary = flowgauge.summary("s", labels=["i"])
        for i in [*range(30)] * (number + 1):
            run(f"w{number}-{i}")
            counter.inc(i=f"{number}-{i}")
            histogram.observe(i, i=f"{number}-{i}")
            summary.observe(i, i=f"{number}-{i}")
        parent.say()
        parent.hear()

    def scraper(_):
        return numbers(together(folder))

    def numbers(handle):
        found = {"others": {}}
        for name in ("workflow_runs_started_total", "c_total", "h", "s"):
            family = next(f for f in handle.collect() if f.name == name)
            values = [v if isinstance(v, float) else v.count for v in family.values]
            other = [v for k, v in zip(family.keys, values, strict=True) if "other" in k]
            found[name] = [len(family.keys), sum(values)]
            found["others"][name] = sum(other)
        return found

    def body():
        os.environ[slots.MULTIPROCESS] = folder
        workers = [Process(worker, number) for number in range(4)]
        for one in workers:
            one.hear()
        handle = together(folder)
        found = []
        with warnings() as lines:
            run("own")
            for one in reversed(workers):  # so that the first to die is the last in every order
                found += [numbers(handle), Process(scraper).result()]
                one.kill()
            found += [numbers(handle), Process(scraper).result(), numbers(handle)]
        sizes = {}
        for (kind, *fields), *_ in json.loads(Path(folder, "dead.json").read_text())["found"]:
            if kind != "number":
                sizes.setdefault(kind, set()).add(str(fields[:5] if kind == "calls" else fields[4]))
        return (
            found,
            [len(sizes[k]) for k in ("calls", "counter", "histogram", "summary")],
            len(lines),
        )

    found, sizes, warned = program(body)
    for each in found:
        # One of the two more is at zero: the profile lists the trigger that most runs have.
        assert each["workflow_runs_started_total"] == [52, 301]
        assert [each[name] for name in ("c_total", "h", "s")] == [[41, 300]] * 3
        assert each["others"] == found[0]["others"]
    assert max(sizes[1:]) <= 41
    assert sizes[0] <= 51
    assert 4 <= warned <= 8


def test_many_label_sets_of_the_dead_stay_bounded_where_nobody_looks(folder, monkeypatch):
    monkeypatch.setattr(cells, "LIMIT", 50)

    def worker(_, number):
        for i in range(30):
            run(f"w{number}-{i}")

    def body():
        os.environ[slots.MULTIPROCESS] = folder
        for number in range(100):
            Process(worker, number).wait()
        known = json.loads(Path(folder, "dead.json").read_text())["found"]
        handle = together(folder)
        family = next(f for f in handle.collect() if f.name == "workflow_runs_started_total")
        return (
            len({tuple(d[1:6]) for d, *_ in known if d[0] == "calls"}),
            len(family.keys),
            sum(family.values),
        )

    known, shown, total = program(body)
    assert known <= 51
    assert shown <= 52
    assert total == 3000
