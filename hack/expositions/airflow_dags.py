"""Print what statsd_exporter makes of Airflow with the mapping of `examples/airflow`: a whole Airflow, for a minute or two.

One DAG ends well, one fails, one is tried again, and one file cannot be imported.
"""

# mypy: ignore-errors
from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
STATSD, METRICS = "127.0.0.1:18125", "127.0.0.1:19102"
DAGS = """
from datetime import datetime, timedelta
from airflow.sdk import dag, task

EVERY = {"schedule": timedelta(minutes=1), "start_date": datetime(2026, 1, 1), "catchup": False}

@dag(dag_id="good", **EVERY)
def good():
    @task
    def load():
        pass
    load()

@dag(dag_id="bad", **EVERY)
def bad():
    @task
    def load():
        raise ValueError("no")
    load()

@dag(dag_id="again", default_args={"retries": 1, "retry_delay": timedelta(seconds=1)}, **EVERY)
def again():
    @task
    def load(**context):
        if context["ti"].try_number == 1:
            raise ValueError("not yet")
    load()

good()
bad()
again()
"""
# What tells that everything has happened.
SIGNS = (
    "airflow_dagrun_duration_count",
    "airflow_dagrun_failed_count",
    "airflow_dagrun_schedule_delay_count",
    "airflow_task_duration_count",
    "airflow_dag_processing_import_errors",
    "airflow_pool_open_slots",
    "airflow_scheduler_dagruns_running",
    'state="up_for_retry"',
)


def environment(home: Path) -> dict[str, str]:
    """Airflow's settings: small, quiet, with StatsD."""
    host, port = STATSD.split(":")
    bin_folder = str(Path(sys.executable).parent)
    return {
        **os.environ,
        "PATH": f"{bin_folder}:{os.environ['PATH']}",
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "AIRFLOW__CORE__PARALLELISM": "2",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": "http://127.0.0.1:18080/execution/",
        "AIRFLOW__API__PORT": "18080",
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__METRICS__STATSD_ON": "True",
        "AIRFLOW__METRICS__STATSD_HOST": host,
        "AIRFLOW__METRICS__STATSD_PORT": port,
        "AIRFLOW__METRICS__STATSD_PREFIX": "airflow",
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "10",
        "AIRFLOW__SCHEDULER__ENABLE_TRACEMALLOC": "False",
    }


def scrape() -> str:
    """What statsd_exporter exposes now."""
    with urllib.request.urlopen(f"http://{METRICS}/metrics", timeout=10) as response:
        return response.read().decode()


def main() -> None:
    """Set up, run, wait, print."""
    home = Path(tempfile.mkdtemp(prefix="airflow-"))
    (home / "dags").mkdir()
    (home / "dags/flows.py").write_text(DAGS, encoding="utf-8")
    (home / "dags/broken.py").write_text("import nothing_of_this_name\n", encoding="utf-8")
    values = yaml.safe_load((ROOT / "examples/airflow/values.yaml").read_text(encoding="utf-8"))
    mapping = {"mappings": values["statsd"]["overrideMappings"]}
    (home / "mappings.yml").write_text(yaml.safe_dump(mapping), encoding="utf-8")
    exporter = Path(sys.executable).with_name("statsd_exporter")
    options = [f"--statsd.listen-udp={STATSD}", "--statsd.listen-tcp=", "--log.level=error"]
    options += [f"--web.listen-address={METRICS}", f"--statsd.mapping-config={home}/mappings.yml"]
    running = [subprocess.Popen([exporter, *options], stdout=sys.stderr)]
    airflow = Path(sys.executable).with_name("airflow")
    log = (home / "standalone.log").open("w")
    running.append(
        subprocess.Popen(
            [airflow, "standalone"],
            env=environment(home),
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    )
    try:
        text = ""
        for _ in range(150):
            time.sleep(2)
            text = scrape()
            if all(sign in text for sign in SIGNS):
                break
        print(text)
    finally:
        os.killpg(running[1].pid, 15)
        running[0].terminate()
        running[1].wait(60)
        log.close()
        if "KEEP" not in os.environ:
            shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()
