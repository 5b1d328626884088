"""Files and disks: what is foreign, damaged, full or gone."""

import contextlib
import os
import shutil
import stat
import struct
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

import pytest
from together import Process, counted, files, program, run, runs, together, warnings

import flowgauge
from flowgauge import (
    guard,
    multiprocess,
    slotfile,
    slots,
)
from rig import pytest_plugin

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

IS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0
# Root of a namespace that has one user only cannot become another one.
USERS = int(Path("/proc/self/uid_map").read_text().split()[2]) if sys.platform == "linux" else 1


def test_files_are_for_their_user_only_and_small(folder):
    def body():
        together(folder)
        run("w")
        path = os.path.join(folder, files(folder)[0])
        found = os.stat(path)
        return stat.S_IMODE(found.st_mode), found.st_size, found.st_blocks * 512

    mode, size, on_disk = program(body)
    assert mode == 0o600
    assert size <= 32 << 10
    assert on_disk <= 36 << 10


def test_a_file_that_was_never_finished_is_removed_when_it_is_old(folder):
    def half(name, age):
        path = Path(folder, f"{name}.slots.new")
        path.write_bytes(b"half")
        os.utime(path, (time.time() - age, time.time() - age))

    def body():
        handle = together(folder)
        half(f"77-{1:016x}", 3600)
        half(f"78-{2:016x}", 1)
        half("notes", 3600)
        handle.collect()
        return [name for name in files(folder) if name.endswith("new")]

    assert program(body) == [f"78-{2:016x}.slots.new", "notes.slots.new"]


def test_what_is_not_ours_is_left_alone_and_what_is_damaged_is_told_once(folder):
    def worker(_):
        run("w", 3)
        flowgauge.counter("c_total", labels=["a"]).inc(a="x")

    def live(parent):
        worker(parent)
        parent.say()
        parent.hear()

    def name(number):
        return os.path.join(folder, f"1-{number:016x}.slots")

    def body():
        together(folder)
        one = Process(live)
        one.hear()
        source = next(n for n in files(folder) if n.startswith(f"{one.pid}-"))
        good = Path(folder, source).read_bytes()
        end = good.rindex(b"c_total")  # in the last record
        one.kill()
        handle = together(folder)
        before = [runs(handle, "w"), handle.value("c_total", a="x")]

        foreign = ["notes.slots", "1-2.slots", "dead.json.old", "1-00000000000000ff.slots.bak"]
        for each in foreign:
            Path(folder, each).write_bytes(good)
        os.mkdir(name(1))
        os.mkfifo(name(2))
        os.symlink(os.path.join(folder, "notes.slots"), name(3))
        Path(name(4)).write_bytes(b"")
        Path(name(5)).write_bytes(b"flowgauge-slots9" + good[16:])
        Path(name(6)).write_bytes(os.urandom(4000))
        kept = {*foreign, *(os.path.basename(name(i)) for i in range(1, 7))}
        # Dead, ours, and damaged: what is whole of it counts.
        damaged = {7: good[: end - 30], 8: good[:end] + b"\xff\xfe" + good[end + 2 :], 9: good[:60]}
        at = slotfile._HEADER
        while struct.unpack_from("<Q", good, at)[0]:
            last, at = at, at + struct.unpack_from("<Q", good, at)[0]
        damaged[10] = good[:last] + struct.pack("<Q", 1 << 40) + good[last + 8 :]
        damaged[12] = good[:last] + struct.pack("<Q", 4) + good[last + 8 :]
        damaged[11] = good[: last + 12] + struct.pack("<I", 1 << 20) + good[last + 16 :]
        for number, content in damaged.items():
            Path(name(number)).write_bytes(content)
        with warnings() as lines:
            found = [[runs(handle, "w"), handle.value("c_total", a="x")] for _ in range(3)]
        left = {n for n in os.listdir(folder) if n in kept}
        gone = [i for i in damaged if os.path.exists(name(i))]
        return before, found, len(lines), sorted(kept - left), gone, lines

    before, found, warned, removed, gone, lines = program(body)
    assert before == [3, 1]
    # All damaged files but one have all of their calls; none the whole last record.
    assert found == [[18, 1]] * 3
    assert removed == []
    assert gone == [9]
    assert warned == len(set(lines)) == 11


def test_a_file_that_is_cut_short_while_it_is_read_does_no_harm(folder):
    """A reader that mapped the file would be ended by SIGBUS."""

    def worker(parent):
        for i in range(300):
            flowgauge.counter("c_total", labels=["i"]).inc(i=str(i))
        parent.say()
        parent.hear()

    def body():
        handle = together(folder)
        one = Process(worker)
        one.hear()
        path = Path(folder, next(n for n in files(folder) if n.startswith(f"{one.pid}-")))
        found = [sum(v for k, v in counted(handle).items() if k[0] == "c_total")]
        with path.open("r+b") as file:
            file.truncate(4096)
        with warnings() as lines:
            found.append(0 < sum(v for k, v in counted(handle).items() if k[0] == "c_total") < 300)
        one.kill()
        return found, len(lines)

    assert program(body) == [[300, True], 1]


def test_a_damaged_file_of_the_dead_is_told_and_replaced(folder):
    def worker(_):
        run("w")

    def body():
        handle = together(folder)
        found = []
        for content in (
            "{",
            "[]",
            '{"boot": 5}',
            '{"boot": "BOOT", "buried": [], "admitted": [], "found": [[["calls"], 1]]}',
        ):
            Path(folder, "dead.json").write_text(content.replace("BOOT", slotfile.boot().decode()))
            with warnings() as lines:
                handle.collect()
            found.append(len(lines))
            guard._reported.clear()
        Process(worker).wait()
        return found, [runs(handle, "w") for _ in range(2)]

    assert program(body) == [[1, 1, 0, 1], [1, 1]]


def test_a_file_that_is_full_is_told_and_what_is_new_is_counted_for_this_process(folder):
    def worker(parent):
        slotfile.SIZE = 64 << 10
        with warnings() as lines:
            for i in range(900):
                flowgauge.counter("c_total", labels=["i"]).inc(i=str(i))
                run(f"w{i % 300}")
        handle = flowgauge.setup_observability(serve=False)
        found = counted(handle)
        parent.say()
        parent.hear()
        mine = [
            sum(v for k, v in found.items() if k[0] == name)
            for name in ("c_total", "workflow_runs_started_total")
        ]
        return [*mine, len(lines), "use fewer label sets" in lines[0]]

    def body():
        os.environ[slots.MULTIPROCESS] = folder
        one = Process(worker)
        one.hear()
        handle = together(folder)
        seen = [sum(v for k, v in counted(handle).items() if k[0] == "c_total") for _ in range(2)]
        one.say()
        return [one.result(), 0 < seen[0] < 900, seen[0] == seen[1]]

    assert program(body) == [[900, 900, 1, True], True, True]


def small_disk(folder, body):
    """What the code of `body` prints in a process that has a disk of 256 KiB at `folder`."""
    os.makedirs(folder)
    unshare = (
        ["unshare", "--mount"] if IS_ROOT else ["unshare", "--user", "--map-root-user", "--mount"]
    )
    mount = f"mount -t tmpfs -o size=256k tmpfs '{folder}' && exec \"$@\""
    script = textwrap.dedent(f"folder = {folder!r}") + textwrap.dedent(body)
    done = subprocess.run(
        [*unshare, "sh", "-c", mount, "sh", sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if "unshare" in done.stderr or "mount:" in done.stderr:
        pytest_plugin.unavailable(f"it needs a disk of its own: {done.stderr}")
    assert done.returncode == 0, (done.returncode, done.stderr)
    return done.stdout.splitlines(), done.stderr.splitlines()


def test_a_full_disk_is_told_and_ends_nothing(folder):
    """A write to a map that the disk has no room for would be SIGBUS."""
    out, log = small_disk(
        folder,
        """
        import os, flowgauge
        handle = flowgauge.setup_observability(serve=False, multiprocess_dir=folder)
        counter = flowgauge.counter("c_total", labels=["i"])

        def total():
            return sum(sum(f.values) for f in handle.collect() if f.name == "c_total")

        def worker():
            with flowgauge.run("w"):
                counter.inc(i="-1")
            os._exit(0)

        for _ in range(2):  # one that is put together before, and one for which there is no room
            if os.fork() == 0:
                worker()
            os.wait()
            print(total())
            for i in range(900):
                counter.inc(i=str(i))
                with flowgauge.run(f"w{i % 300}"):
                    pass
        with open(folder + "/rest", "wb", 0) as file:
            try:
                while file.write(b"x" * 512):
                    pass
            except OSError:
                pass
        pid = os.fork()
        if pid == 0:
            for i in range(200):  # which has no file at all
                counter.inc(i=str(i))
            os._exit(0 if total() >= 200 else 1)
        print(os.waitpid(pid, 0)[1], total(), total())
        os.unlink(folder + "/rest")
        print(total(), total(), handle.value("workflow_runs_total", workflow="w", status="success"))
        """,
    )
    # The second one had no room for all of its numbers.
    seen = [float(line) for line in out[:2]]
    assert seen[0] == 1
    assert seen[1] in (901, 902)
    total = str(seen[1] + 900)
    assert out[2] == f"0 {total} {total}"
    assert out[3] in (f"{total} {total} 1.0", f"{total} {total} 2.0")
    assert any("No space left on device" in line for line in log)
    assert len(log) < 12


@pytest.mark.parametrize("how", ["argument", "variable"])
def test_a_directory_that_cannot_be_used_is_an_error_at_set_up_and_a_warning_otherwise(how):
    def argument():
        try:
            together("/proc/no/such/directory")
        except OSError as error:
            return str(error)
        return "fine"

    def variable():
        os.environ[slots.MULTIPROCESS] = "/proc/no/such/directory"
        with warnings() as lines:
            run("w", 2)
            handle = flowgauge.setup_observability(serve=False)
        return [*lines, runs(handle, "w")]

    if how == "argument":
        message = program(argument)
    else:
        message, count = program(variable)
        assert "FLOWGAUGE_MULTIPROCESS_DIR" in message
        assert count == 2
    assert "/proc/no/such/directory" in message
    assert "may write to" in message


@pytest.mark.skipif(not IS_ROOT or USERS < 65535, reason="only root, where there are several users")
def test_files_of_another_user_are_told_and_left_out():
    folder = tempfile.mkdtemp(dir="/tmp")

    def worker(parent, user):
        os.setuid(user)
        multiprocess.share(folder)
        run("w")
        parent.say()
        parent.hear()

    def scraper(_, user):
        os.setuid(user)
        handle = together(folder)
        with warnings() as lines:
            found = [runs(handle, "w") for _ in range(3)]
        return found, lines

    def body():
        os.chmod(folder, 0o777)
        # What is imported only now may not be readable for others.
        flowgauge.setup_observability(serve=False).collect()
        run("w", 0)
        workers = [Process(worker, user) for user in (65534, 0)]
        for one in workers:
            one.hear()
        found = [Process(scraper, 65534).result(), Process(scraper, 0).result()]
        for one in workers:
            one.kill()
        return found

    try:
        (theirs, lines), (roots, _) = program(body)
    finally:
        shutil.rmtree(folder)
    assert theirs == [1, 1, 1]
    assert len(lines) >= 1
    assert all("of another user" in line for line in lines)
    assert roots == [2, 2, 2]


@pytest.mark.parametrize("gone", ["files", "directory"])
def test_a_directory_that_is_emptied_while_processes_run_ends_nothing(folder, gone):
    def worker(parent):
        handle = together(folder)
        run("w", 2)
        for _ in range(3):
            parent.say()
            parent.hear()
            run("w")
            handle.collect()
        return runs(handle, "w")

    def body():
        handle = together(folder)
        run("w", 10)
        one = Process(worker)
        one.hear()
        found = [runs(handle, "w")]
        shutil.rmtree(folder)
        if gone == "files":
            os.mkdir(folder)
        with warnings() as lines:
            found.append(runs(handle, "w"))
        one.say()
        one.hear()
        found.append(runs(handle, "w"))
        one.say()
        one.hear()
        one.say()
        return [*found, one.result(), len(lines)]

    # Ten and two; ten, which is what this process has itself; then they find each other again.
    assert (
        program(body)
        == {
            "files": [12, 10, 13, 15, 0],
            "directory": [12, 10, 10, 5, 0],
        }[gone]
    )


def test_what_is_there_of_an_earlier_start_of_the_machine_is_removed(folder):
    def worker(_):
        run("w")

    def body():
        handle = together(folder)
        for _ in range(2):
            Process(worker).wait()
        runs(handle, "w")
        Process(worker).wait()
        for path in Path(folder).iterdir():
            if f"{os.getpid()}-" not in path.name:
                path.write_bytes(
                    path.read_bytes().replace(slotfile.boot(), b"0" * len(slotfile.boot()))
                )
        found = [runs(handle, "w"), len(files(folder))]
        Process(worker).wait()
        return [*found, runs(handle, "w"), runs(handle, "w")]

    assert program(body) == [None, 1, 1, 1]


def test_an_allocation_that_is_interrupted_hides_none_that_come_later(folder):
    def worker(parent):
        counter = flowgauge.counter("c_total", labels=["i"])
        counter.inc(i="1")
        own_file = multiprocess._directory._own
        real = own_file._map

        class Interrupted:
            def __setitem__(self, *_):
                raise KeyboardInterrupt

        own_file._map = Interrupted()
        with contextlib.suppress(KeyboardInterrupt):
            counter.inc(i="2")
        own_file._map = real
        counter.inc(i="3")
        parent.say()
        parent.hear()

    def body():
        handle = together(folder)
        one = Process(worker)
        one.hear()
        found = [[handle.value("c_total", i=str(i)) for i in (1, 2, 3)]]
        one.kill()
        return [*found, [handle.value("c_total", i=str(i)) for i in (1, 2, 3)]]

    assert program(body) == [[1, None, 1]] * 2
