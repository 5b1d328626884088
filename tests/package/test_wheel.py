"""What people install: the wheel and the sdist, in environments of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import flowgauge

ROOT = Path(__file__).resolve().parents[2]
UV = Path(sys.executable).with_name("uv")
VERSION = flowgauge.__version__
EPOCH = "1700000000"

pytestmark = pytest.mark.parts

PROGRAM = """
import urllib.request
import flowgauge

@flowgauge.workflow
def orders():
    return 1

orders()
served = flowgauge.setup_observability(host="127.0.0.1", port=0)
page = urllib.request.urlopen(f"http://127.0.0.1:{served.port}/metrics").read().decode()
print(flowgauge.__version__)
print(*[line for line in page.splitlines() if line.startswith("workflow_runs_total")], sep="\\n")
"""


def uv(*arguments, **env) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [UV, *map(str, arguments)],
        env=dict(os.environ) | env,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def build(folder: Path, source: Path = ROOT, *flags: str, **env) -> Path:
    done = uv("build", "--quiet", "--offline", "--no-build-isolation", f"--python={sys.executable}",
              f"--out-dir={folder}", *flags, source, **{"SOURCE_DATE_EPOCH": EPOCH} | env)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """A folder with the sdist, and the wheel that was built from it."""
    return build(tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    return built / f"flowgauge-{VERSION}-py3-none-any.whl"


class Environment:
    """A virtual environment with the wheel and some of its extras."""

    def __init__(self, folder: Path, wheel: Path, extras: str) -> None:
        self.bin = folder / "bin"
        assert uv("venv", "--quiet", f"--python={sys.executable}", folder).returncode == 0
        # The cache first: the rig has no network, and who has one need not ask it.
        for how in (["--offline"], []):
            done = uv("pip", "install", "--quiet", *how, f"--python={self.bin / 'python'}",
                      "--constraint=requirements/dev.txt", f"flowgauge{extras} @ {wheel.as_uri()}")  # fmt: skip
            if done.returncode == 0:
                return
        pytest.fail(
            "the wheel's dependencies are neither in uv's cache nor to be had from a network: run `make fetch` where"
            f" there is one.\n{done.stderr}",
            pytrace=False,
        )

    def run(self, program: str, *arguments) -> subprocess.CompletedProcess[str]:
        # Nothing of ours may help: what an environment lacks has to show.
        env = {"PATH": "/usr/bin:/bin", "HOME": str(self.bin)}
        return subprocess.run(
            [self.bin / program, *map(str, arguments)], env=env, cwd=self.bin, capture_output=True, text=True,
            timeout=60, check=False,
        )  # fmt: skip

    def packages(self) -> set[str]:
        listed = uv(
            "pip", "list", "--quiet", "--format=freeze", f"--python={self.bin / 'python'}"
        ).stdout
        return {line.partition("==")[0].lower() for line in listed.split("\n") if "==" in line}


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory):
    made: dict[str, Environment] = {}

    def get(extras: str = "") -> Environment:
        if extras not in made:
            made[extras] = Environment(tmp_path_factory.mktemp("env"), wheel, extras)
        return made[extras]

    return get


def test_the_library_alone_brings_two_packages(environment):
    found = environment().packages()

    assert found - {"flowgauge"} == {"prometheus-client", "pyyaml"}


def test_the_library_alone_measures_and_serves(environment):
    done = environment().run("python", "-c", PROGRAM)

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == VERSION
    assert any(
        'workflow="orders"' in line and line.endswith(" 1.0") for line in done.stdout.splitlines()
    ), done.stdout


@pytest.mark.parametrize("program", ["flowgauge", "flowgauge-operator"])
def test_the_library_alone_says_in_one_line_what_a_command_lacks(environment, program):
    done = environment().run(program, "--help")

    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.endswith("this needs the extra [operator]; pip install 'flowgauge[operator]'")


@pytest.mark.parametrize("extras", ["[operator]", "[cli]", "[preview]"])
def test_the_operator_and_the_command_line_start(environment, extras):
    there = environment(extras)
    example = ROOT / "examples/orders/workflow.yaml"

    assert there.run("flowgauge-operator", "--version").stdout == f"flowgauge-operator {VERSION}\n"
    assert "--leader-elect" in there.run("flowgauge-operator", "--help").stdout
    assert there.run("flowgauge", "--version").stdout == f"flowgauge {VERSION}\n"
    assert there.run("flowgauge", "validate", "-f", example).returncode == 0
    generated = there.run("flowgauge", "generate", "-f", example)
    assert generated.stdout == example.with_name("manifests.yaml").read_text(), generated.stderr


def test_an_extra_brings_what_it_is_for_and_no_more(environment):
    assert "kubernetes" not in environment("[operator]").packages()
    assert "kubernetes" in environment("[cli]").packages()
    assert {"matplotlib"} == environment("[preview]").packages() & {"matplotlib", "kubernetes"}


def test_an_operator_without_a_cluster_says_so(environment):
    done = environment("[operator]").run("flowgauge-operator")

    assert done.returncode == 1
    assert "KUBECONFIG" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_preview_without_its_extra_says_so_in_one_line(environment):
    done = environment("[operator]").run("flowgauge", "preview", "-f", ROOT / "examples/orders/workflow.yaml",
                                         "--prometheus=http://127.0.0.1:1", "--html=page.html")  # fmt: skip

    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "flowgauge[preview]" in done.stderr


@pytest.mark.parametrize(
    ("extra", "module"),
    [("otel", "opentelemetry.sdk"), ("datadog", "datadog"), ("cloudwatch", "boto3")],
)
def test_the_exporters_extras_bring_their_clients(environment, extra, module):
    done = environment(f"[{extra}]").run("python", "-c", f"import flowgauge, {module}")

    assert done.returncode == 0, done.stderr


def test_a_wheel_holds_the_packages_and_their_data(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()

    assert {name.partition("/")[0] for name in names} == {
        "flowgauge", "flowgauge_operator", f"flowgauge-{VERSION}.dist-info",
    }  # fmt: skip
    assert {"flowgauge/py.typed", "flowgauge_operator/py.typed"} <= set(names)
    assert f"flowgauge-{VERSION}.dist-info/licenses/LICENSE" in names
    sources = {path.name for path in (ROOT / "library/flowgauge/profiles/builtin").glob("*.yaml")}
    assert {
        Path(name).name for name in names if name.startswith("flowgauge/profiles/builtin/")
    } == sources
    assert not [name for name in names if "test" in name or name.endswith(".pyc")]


def test_an_sdist_holds_what_a_wheel_is_built_from_and_nothing_of_the_work_tree(built):
    with tarfile.open(built / f"flowgauge-{VERSION}.tar.gz") as archive:
        top = {name.split("/")[1] for name in archive.getnames()}

    assert top == {
        "library", "operator", "crds", "charts", "README.md", "LICENSE", "CHANGELOG.md", "pyproject.toml", "PKG-INFO",
        ".gitignore",
    }  # fmt: skip


def test_the_same_source_is_the_same_wheel_whatever_way_it_is_built(wheel, tmp_path):
    # Later, under another mask of modes, and not by way of the sdist.
    before = os.umask(0o077)
    try:
        again = build(tmp_path, ROOT, "--wheel")
    finally:
        os.umask(before)

    assert (again / wheel.name).read_bytes() == wheel.read_bytes()
