#!/bin/sh
# Write the folder `monitoring` anew. Needs `pip install 'flowgauge[operator]'`.
set -eu
cd "$(dirname "$0")"
flowgauge generate --target prometheus -f workflows.yaml --out monitoring --dashboards-path /var/lib/flowgauge/dashboards \
  --pushgateway pushgateway:9091 \
  --grafana-url http://localhost:3000 \
  "$@"
