"""The namespace that everything runs in. Starts real namespaces, but no part of the cluster."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from rig import forward, namespace, pytest_plugin, waiting

HACK = Path(namespace.__file__).parent.parent


def environment():
    # As from an ordinary shell, also when this test itself runs inside the rig.
    env = {key: value for key, value in os.environ.items() if not key.startswith("FLOWGAUGE_RIG")}
    env.pop("KUBECONFIG", None)
    return env | {"PYTHONPATH": str(HACK)}


# A shell in the background, of a CI perhaps, lets its children ignore Ctrl-C; a user's terminal does not.
AS_IN_A_TERMINAL = ["env", "--default-signal=INT"]


def rig(*arguments, **options):
    command = [*AS_IN_A_TERMINAL, sys.executable, "-m", "rig", "exec", *arguments]
    return subprocess.Popen(
        command,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **options,
    )


@pytest.fixture(scope="module", autouse=True)
def _namespaces_are_allowed():
    probe = rig("--", "true")
    said, _ = probe.communicate(timeout=30)
    if probe.returncode != 0:
        pytest_plugin.unavailable(said)


pytestmark = pytest.mark.cluster


def is_alive(mark):
    """Tell whether any process has this in its environment."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (folder / "environ").read_bytes():
                return True
        except OSError:
            continue
    return False


def started_inside(tmp_path, code):
    """Start a driver and wait until the command inside says that it runs."""
    ready = tmp_path / "ready"
    driver = rig("--", "env", f"MARK={tmp_path}", "sh", "-c", f"{code}", "sh", str(ready))
    waiting.wait_for(ready.exists, 10, "the command inside to start")
    return driver


def test_the_exit_status_is_that_of_the_command():
    driver = rig("--", "sh", "-c", "exit 3")

    driver.communicate(timeout=30)

    assert driver.returncode == 3


def test_a_command_that_does_not_exist_is_127():
    driver = rig("--", "no-such-command")

    said, _ = driver.communicate(timeout=30)

    assert driver.returncode == 127
    assert "no-such-command" in said


def test_every_address_of_the_pods_is_ours():
    code = (
        "import socket\n"
        "for host in ('10.244.0.10', '10.244.200.3', '10.96.0.1'):\n"
        "    socket.create_server((host, 8080)).close()\n"
    )
    driver = rig("--", sys.executable, "-c", code)

    said, _ = driver.communicate(timeout=30)

    assert (driver.returncode, said) == (0, "")


def test_nothing_survives_a_killed_driver(tmp_path):
    # A process with a session of its own, as every part of the rig has.
    driver = started_inside(tmp_path, 'setsid sleep 1000 & touch "$1"; sleep 1000')
    assert is_alive(f"MARK={tmp_path}")

    os.kill(driver.pid, signal.SIGKILL)
    driver.communicate(timeout=10)

    waiting.wait_for(lambda: not is_alive(f"MARK={tmp_path}"), 5, "the namespace to end")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_driver_lets_the_command_clean_up(tmp_path, number):
    clean = 'trap "echo clean; exit 0" TERM INT; touch "$1"; while :; do sleep 0.1; done'
    driver = started_inside(tmp_path, clean)

    os.kill(driver.pid, number)
    said, _ = driver.communicate(timeout=10)

    assert (driver.returncode, said) == (0, "clean\n")
    assert not is_alive(f"MARK={tmp_path}")


def test_ctrl_c_reaches_the_command_once(tmp_path):
    count = 'trap "echo int" INT; trap "exit 0" TERM; touch "$1"; while :; do sleep 0.1; done'
    ready = tmp_path / "ready"
    primary, secondary = os.openpty()
    inside = ["sh", "-c", count, "sh", str(ready)]
    command = [*AS_IN_A_TERMINAL, sys.executable, "-m", "rig", "exec", "--", *inside]
    # A terminal of its own: only then a Ctrl-C comes from the kernel, to the whole group.
    driver = subprocess.Popen(
        ["setsid", "--ctty", "--wait", *command],
        env=environment(),
        stdin=secondary,
        stdout=subprocess.PIPE,
        text=True,
    )
    waiting.wait_for(ready.exists, 10, "the command inside to start")

    os.write(primary, b"\x03")
    time.sleep(0.5)
    (child,) = Path(f"/proc/{driver.pid}/task/{driver.pid}/children").read_text().split() or [
        driver.pid
    ]
    os.kill(int(child), signal.SIGTERM)
    said, _ = driver.communicate(timeout=10)
    os.close(primary)
    os.close(secondary)

    assert said == "int\n"


def test_a_forwarded_port_is_reachable_from_outside(tmp_path):
    code = (
        "import http.server, pathlib, sys, threading\n"
        "from rig.forward import Forwards\n"
        "pathlib.Path('index.html').write_text('from inside')\n"
        "server = http.server.ThreadingHTTPServer(('10.244.0.9', 80), http.server.SimpleHTTPRequestHandler)\n"
        "print(Forwards.inherited().lead('web', '10.244.0.9', 80), flush=True)\n"
        "server.serve_forever()\n"
    )
    driver = rig("--forward", "web=18080", "--", sys.executable, "-c", code, cwd=tmp_path)
    assert driver.stdout is not None
    address = driver.stdout.readline().strip()

    with urllib.request.urlopen(f"http://{address}/", timeout=10) as answer:
        body = answer.read()

    driver.terminate()
    driver.communicate(timeout=10)
    assert body == b"from inside"


def test_a_port_that_is_taken_is_replaced_by_a_free_one():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        doors = forward.listen({"web": port})

        assert doors["web"].port not in (0, port)
        os.close(doors["web"].fd)
