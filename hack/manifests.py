"""Write the operator's chart as one file for `kubectl apply --server-side -f`: `make manifests`.

The kinds of Prometheus Operator are not in it, since a cluster without them would refuse the file; `--monitoring` adds them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from flowgauge_operator.cli import product
from rig import chart
from rig.helm import ChartError

ROOT = Path(__file__).resolve().parents[1]
_NAMESPACE = "flowgauge-system"
_HEAD = "# The Flowgauge operator, rendered from charts/flowgauge: kubectl apply --server-side -f install.yaml\n"
_MANAGED_BY = "app.kubernetes.io/managed-by"


def objects(*, monitoring: bool = False, values: Sequence[Path] = ()) -> Iterator[dict[str, Any]]:
    """The namespace and every object of the chart, definitions first; `values` are files of it."""
    yield {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": _NAMESPACE,
            "labels": {"pod-security.kubernetes.io/enforce": "restricted"},
        },
    }
    forced = {"force": True}
    for made in chart.render(
        ROOT / "charts/flowgauge",
        release="flowgauge",
        namespace=_NAMESPACE,
        values=values,
        overrides={"serviceMonitor": forced, "prometheusRule": forced} if monitoring else {},
    ):
        # Nobody will find a release of helm.
        pods = made.get("spec", {}).get("template", {}).get("metadata", {})
        for metadata in (made["metadata"], pods):
            metadata.get("labels", {}).pop(_MANAGED_BY, None)
        yield made


def main() -> int:
    """Write the file; without one, say what helm has against the values."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=ROOT / "dist/install.yaml")
    parser.add_argument(
        "--monitoring", action="store_true", help="with ServiceMonitor and PrometheusRule"
    )
    parser.add_argument(
        "--values", type=Path, action="append", default=[], help="a file of values of the chart"
    )
    chosen = parser.parse_args()
    try:
        made = list(objects(monitoring=chosen.monitoring, values=chosen.values))
    except ChartError as error:
        print(error, file=sys.stderr)
        return 1
    chosen.output.parent.mkdir(parents=True, exist_ok=True)
    text = yaml.dump_all(
        made, Dumper=product.Dumper, sort_keys=False, width=120, allow_unicode=True
    )
    chosen.output.write_text(_HEAD + text, encoding="utf-8")
    print(f"wrote {chosen.output}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
