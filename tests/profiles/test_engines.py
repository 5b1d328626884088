"""The profiles of engines name what the engines expose: compared with expositions captured by `hack/expositions`."""

import re
from pathlib import Path

import pytest

from flowgauge import profiles

ENGINES = ("airflow", "argo-workflows", "celery", "prefect", "temporal")
FOLDER = Path(__file__).parent / "expositions"
# What no capture has, each with the reason.
NOT_CAPTURED = {
    "prefect": dict.fromkeys(
        [family.name for family in profiles.builtin("prefect").families],
        "the exporter is in no package registry; names and labels were read in its source",
    ),
}
_TYPE = re.compile(r"# TYPE (\S+) (\w+)")
_SAMPLE = re.compile(r"([a-zA-Z_:][\w:]*)(?:\{(.*)\})? \S+")
_LABEL = re.compile(r'([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"')


class Exposition:
    """One captured page: the type of each family, and the label sets of each sample name."""

    def __init__(self, text):
        self.types = dict(_TYPE.findall(text))
        self.samples = {}
        for line in text.splitlines():
            match = None if line.startswith("#") else _SAMPLE.match(line)
            if match:
                self.samples.setdefault(match[1], []).append(dict(_LABEL.findall(match[2] or "")))

    def type_of(self, name):
        """The type of a family. The count of a histogram is a counter in its own right."""
        if name not in self.types and name.removesuffix("_count") in self.types:
            return "counter"
        return self.types.get(name)


def exposition(engine):
    return Exposition((FOLDER / f"{engine}.txt").read_text(encoding="utf-8"))


CAPTURED = {path.stem: exposition(path.stem) for path in sorted(FOLDER.glob("*.txt"))}
FAMILIES = [
    pytest.param(engine, family, id=f"{engine} {family.name} {family.role}")
    for engine in ENGINES
    for family in profiles.builtin(engine).families
    if family.name not in NOT_CAPTURED.get(engine, {})
]
each_family = pytest.mark.parametrize(("engine", "family"), FAMILIES)


@each_family
def test_a_family_has_the_name_and_the_type_that_the_engine_exposes(engine, family):
    assert CAPTURED[engine].type_of(family.name) == family.type


@each_family
def test_a_family_has_labels_that_the_engine_exposes(engine, family):
    wanted = {*family.labels.values(), *family.where}

    assert any(wanted <= set(labels) for labels in CAPTURED[engine].samples[family.probe])


@each_family
def test_the_fixed_matchers_of_a_family_select_something(engine, family):
    pairs = family.where.items()

    assert any(pairs <= labels.items() for labels in CAPTURED[engine].samples[family.probe])


@each_family
def test_the_buckets_of_a_histogram_are_those_of_the_engine(engine, family):
    samples = CAPTURED[engine].samples.get(f"{family.name}_bucket", ())
    bounds = {float(labels["le"]) for labels in samples} - {float("inf")}

    assert sorted(bounds) == list(family.buckets)


@pytest.mark.parametrize("engine", ENGINES)
def test_what_could_not_be_captured_has_a_reason_and_is_in_no_capture(engine):
    reasons = NOT_CAPTURED.get(engine, {})
    names = {family.name for family in profiles.builtin(engine).families}
    seen = CAPTURED[engine].types if engine in CAPTURED else {}

    assert set(reasons) <= names
    assert all(reasons.values())
    assert set(reasons) & set(seen) == set()


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.txt")), ids=lambda path: path.stem)
def test_a_capture_says_what_it_was_captured_from(path):
    first = path.read_text(encoding="utf-8").splitlines()[0]

    assert re.match(r"# Captured from \S+ v?\d+\.\d+\.\d+", first)


def test_the_client_metrics_of_prefect_tell_nothing_of_flow_runs():
    names = set(CAPTURED["prefect-client"].types)

    # Events, logs and the channel of workers: how Prefect talks with its server.
    talk = ("prefect_event", "prefect_log", "prefect_worker_c")
    assert names
    assert [n for n in names if not n.startswith(("process_", "python_", *talk))] == []
