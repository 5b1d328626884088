"""Capture what the engines of the built-in profiles expose, into `tests/profiles/expositions`.

    python hack/expositions            # all of them
    python hack/expositions celery     # one

Each engine is installed into an environment of its own below the folder for temporary files, or built there, and does a
little work, good and bad. The test `tests/profiles/test_engines.py` compares the profiles with the result. Needs PyPI,
and for Airflow and Argo Workflows Go and its module proxy.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import venv
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
TARGET = HERE.parents[1] / "tests/profiles/expositions"
# Numbers of one machine at one time: a new capture shall differ where names do, and nowhere else.
_VALUE = re.compile(r"^([a-zA-Z_:][\w:]*(?:\{.*\})?) \S+$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Python:
    """An engine that is a package: what to install, and the script here that prints its exposition.

    `tools` are programs in Go that the script needs beside its interpreter.
    """

    script: str
    requirements: tuple[str, ...]
    tools: tuple[str, ...] = ()

    def capture(self, folder: Path) -> str:
        """The exposition, printed by the script in an environment that has the packages."""
        python = folder / "bin/python"
        if not python.exists():
            venv.create(folder, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "-q", *self.requirements], check=True)
        for tool in self.tools:
            environment = {**os.environ, "GOBIN": str(folder / "bin")}
            subprocess.run(["go", "install", tool], env=environment, check=True)
        return _output([str(python), str(HERE / self.script)])


@dataclass(frozen=True, slots=True)
class Go:
    """An engine that is a Go module: the folder here with a program that prints its exposition."""

    module: str

    def capture(self, folder: Path) -> str:
        """The exposition, printed by the program."""
        folder.mkdir(parents=True, exist_ok=True)
        binary = folder / self.module
        subprocess.run(
            ["go", "build", "-mod=mod", "-o", binary, "."], cwd=HERE / self.module, check=True
        )
        return _output([str(binary)])


def _output(command: list[str]) -> str:
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=600)
    return done.stdout


ENGINES: dict[str, tuple[str, Python | Go]] = {
    "airflow": (
        "apache-airflow-core 3.3.2 with statsd_exporter 0.31.0 and the mapping of examples/airflow",
        Python(
            "airflow_dags.py",
            ("apache-airflow==3.3.2", "apache-airflow-providers-standard==1.21.0", "statsd==4.0.1"),
            tools=("github.com/prometheus/statsd_exporter@v0.31.0",),
        ),
    ),
    "celery": (
        "prometheus-exporter-celery 0.11.2 with celery 5.7.0",
        Python("celery_tasks.py", ("prometheus-exporter-celery==0.11.2", "celery==5.7.0")),
    ),
    "temporal": (
        "temporalio 1.35.0",
        Python("temporal_worker.py", ("temporalio==1.35.0", "grpcio==1.85.3")),
    ),
    "prefect-client": ("prefect 3.9.1", Python("prefect_flows.py", ("prefect==3.9.1",))),
    "argo-workflows": ("github.com/argoproj/argo-workflows/v4 v4.0.5", Go("argo")),
}


def page(origin: str, text: str) -> str:
    """A capture as it is kept: its origin, and the lines of the engine with every value 1."""
    kept = (line for line in text.splitlines() if line.startswith("# ") or _VALUE.match(line))
    lines = _VALUE.sub(r"\1 1", "\n".join(kept))
    return (
        f"# Captured from {origin}\n# by hack/expositions; every value is written as 1.\n{lines}\n"
    )


def main(names: list[str]) -> None:
    """Capture the engines of these names, or all."""
    for name in names or ENGINES:
        origin, engine = ENGINES[name]
        text = engine.capture(Path(tempfile.gettempdir()) / f"flowgauge-expositions-{name}")
        path = TARGET / f"{name}.txt"
        path.write_text(page(origin, text), encoding="utf-8")
        print(f"wrote {path}")


if __name__ == "__main__":
    main(sys.argv[1:])
