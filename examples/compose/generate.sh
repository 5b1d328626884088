#!/bin/sh
# Write the folder `monitoring` anew; flags are those of `flowgauge generate`. Needs: pip install '../..[operator]'
set -eu
cd "$(dirname "$0")"
exec flowgauge generate --target prometheus -f workflows.yaml --out monitoring \
  --pushgateway pushgateway:9091 \
  --grafana-url http://localhost:3000 \
  --dashboards-path /var/lib/flowgauge/dashboards \
  "$@"
