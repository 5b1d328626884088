"""A program that serves what engines expose, as if they were busy: the captured pages, with values that grow with time.

It serves the page of each engine at /NAME on the port of its first argument.
"""

import http.server
import math
import re
import sys
import time
import zlib
from pathlib import Path

PAGES = Path(__file__).resolve().parents[1] / "profiles/expositions"
# What no capture has: prometheus-prefect-exporter, whose names and labels were read in its source, and kube-state-metrics
# of a CronJob, whose real page tests/live/test_schedule.py reads.
PREFECT = """\
# TYPE prefect_flow_runs_total gauge
prefect_flow_runs_total 1
# TYPE prefect_info_flow_runs gauge
prefect_info_flow_runs{flow_name="load",state_name="Completed"} 1
prefect_info_flow_runs{flow_name="load",state_name="Failed"} 1
prefect_info_flow_runs{flow_name="load",state_name="Running"} 1
prefect_info_flow_runs{flow_name="send",state_name="Completed"} 1
prefect_info_flow_runs{flow_name="send",state_name="Crashed"} 1
# TYPE prefect_flow_runs_ongoing_run_time gauge
prefect_flow_runs_ongoing_run_time{flow_name="load"} 1
# TYPE prefect_work_queues_late_runs_count gauge
prefect_work_queues_late_runs_count{work_queue_name="default"} 1
"""
_SAMPLE = re.compile(r"([a-zA-Z_:][\w:]*)((?:\{.*\})?) \S+")
_BOUND = re.compile(r'le="([^"]+)"')
BEGAN = time.time()
PLANS = 20


def grown(name, labels, kind, elapsed):
    """What a series shows after so many seconds; each has a pace of its own."""
    pace = 1 + zlib.crc32(f"{name}{labels}".encode()) % 3
    if kind == "histogram":
        # Of one histogram, all series have one pace; a fifth is beyond the greatest bound, and all bounds have their part.
        bound = _BOUND.search(labels)
        if bound is None:
            return int(2 * elapsed) * (1 if name.endswith("_count") else 7)
        share = 1 if bound[1] == "+Inf" else 0.8 * math.atan(float(bound[1])) / (math.pi / 2)
        return int(2 * elapsed * share)
    if kind in ("counter", "summary"):
        return int(pace * elapsed)
    if name.endswith(("_created", "_start_time_seconds")):
        return BEGAN
    return round(pace * (2 + math.sin(elapsed / 7)))


def page(text, elapsed):
    """The page after so many seconds."""
    kinds = dict(re.findall(r"# TYPE (\S+) (\w+)", text))
    lines = []
    for line in text.splitlines():
        match = None if line.startswith("#") else _SAMPLE.fullmatch(line)
        if match:
            name, labels = match[1], match[2]
            kind = kinds.get(name) or kinds.get(re.sub(r"_(bucket|sum|count)$", "", name))
            line = f"{name}{labels} {grown(name, labels, kind, elapsed)}"  # noqa: PLW2901
        lines.append(line)
    return "\n".join(lines) + "\n"


def cronjob(now):
    """A CronJob with a plan every so many seconds, whose Jobs begin some seconds late and end well soon after."""
    planned = now - now % PLANS
    begun, ended = (now - planned > seconds for seconds in (4, 8))
    values = {
        "kube_cronjob_next_schedule_time": planned + PLANS if begun else planned,
        "kube_cronjob_status_last_schedule_time": planned if begun else planned - PLANS,
        "kube_cronjob_status_last_successful_time": now - 1 if ended else planned - PLANS + 8,
        "kube_cronjob_status_active": int(begun and not ended),
        "kube_cronjob_spec_suspend": 0,
    }
    labels = '{namespace="shop",cronjob="cronjob"}'
    return "".join(f"# TYPE {k} gauge\n{k}{labels} {v}\n" for k, v in values.items())


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        name, now = self.path.strip("/"), time.time()
        if name == "cronjob":
            text = cronjob(now)
        elif name == "prefect":
            text = page(PREFECT, now - BEGAN)
        else:
            text = page((PAGES / f"{name}.txt").read_text(encoding="utf-8"), now - BEGAN)
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_):
        """Say nothing of scrapes."""


if __name__ == "__main__":
    http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
