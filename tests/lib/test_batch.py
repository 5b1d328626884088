"""How a batch is made. How it ends is in tests/push, with a real gateway and real signals."""

import asyncio
import functools
import subprocess
import sys

import pytest

import flowgauge.push
from flowgauge.push.batch import batch


@pytest.fixture(autouse=True)
def off(monkeypatch):
    monkeypatch.setenv("FLOWGAUGE_PUSHGATEWAY", "off")


def runs(name):
    """The runs of a workflow so far, by status; without those that are zero."""
    page = flowgauge.push.current_page().decode()
    found = {}
    for status in ("success", "failed", "cancelled"):
        start = f'workflow_runs_total{{status="{status}",workflow="{name}"}} '
        (line,) = [line for line in page.splitlines() if line.startswith(start)]
        if value := float(line.removeprefix(start)):
            found[status] = value
    return found


def test_a_missing_gateway_is_told_where_the_batch_is_made(monkeypatch):
    monkeypatch.delenv("FLOWGAUGE_PUSHGATEWAY")

    with pytest.raises(ValueError, match=r"set FLOWGAUGE_PUSHGATEWAY.*or to 'off'"):
        batch("nightly")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("", {}, "name is ''"),
        (None, {}, "name is None"),
        ("a", {"grace": 0}, "grace is 0"),
        ("a", {"every": 0.1}, "every is 0.1"),
        ("a", {"deadline": 0}, "deadline is 0"),
        ("a", {"grouping": {"job": "x"}}, "give it as job"),
        ("a", {"auth": "a b"}, "bearer token"),
    ],
)
def test_bad_arguments_are_refused_by_name(name, options, message):
    with pytest.raises(ValueError, match=message):
        batch(name, gateway_url="gate:9091", **options)


def test_the_group_is_the_name_unless_a_job_is_given():
    address = "gate:9091"

    assert batch("a", gateway_url=address).pusher.url == "http://gate:9091/metrics/job/a"
    both = batch("a", gateway_url=address, job="b", grouping={"shard": "3"})
    assert both.pusher.url == "http://gate:9091/metrics/job/b/shard/3"


def test_off_measures_and_pushes_nothing(name):
    def fail():
        raise AssertionError

    with batch(name, render=fail, strict=True, every=1):
        pass

    assert runs(name) == {"success": 1}


def test_a_generator_cannot_be_a_batch():
    def plain():
        yield 1

    async def asynchronous():
        yield 1

    for generator in (plain, asynchronous):
        with pytest.raises(TypeError, match="decorate the function that consumes it"):
            batch("a")(generator)


def test_partials_and_callable_objects_are_decorated_as_what_they_are(name):
    class Work:
        async def __call__(self, number):
            return number

    async def plain(number):
        return number

    decorate = batch(name)
    assert asyncio.run(decorate(functools.partial(plain, 3))()) == 3
    assert asyncio.run(decorate(Work())(4)) == 4
    assert decorate(functools.partial(divmod, 7))(2) == (3, 1)
    assert runs(name) == {"success": 3}


def test_one_object_serves_one_block_after_the_other_and_within_each_other(name):
    one = batch(name)
    with one:
        pass
    with one, one:
        pass

    assert runs(name) == {"success": 3}


def test_steps_of_the_body_belong_to_its_workflow(name):
    with batch(name), flowgauge.stepping("load"):
        pass

    page = flowgauge.push.current_page().decode()
    assert f'workflow_steps_total{{status="success",step="load",workflow="{name}"}} 1.0\n' in page


def test_after_the_block_no_workflow_is_current(name):
    async def work():
        async with batch(name):
            await asyncio.sleep(0)
        with flowgauge.stepping("outside-of-" + name):
            pass

    asyncio.run(work())
    with flowgauge.stepping("outside-of-" + name):
        pass

    page = flowgauge.push.current_page().decode().splitlines()
    (line,) = [
        line
        for line in page
        if line.startswith("workflow_steps_total{") and "outside-of-" in line and "success" in line
    ]
    assert name not in line.replace(f"outside-of-{name}", "")
    assert line.endswith(" 2.0")


def test_importing_it_loads_no_network_and_no_loop():
    code = "import sys, flowgauge.push.batch; print([m for m in ('http', 'ssl', 'urllib.request', 'asyncio', 'inspect', 'random', 'prometheus_client') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"
