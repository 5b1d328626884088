"""Draw a dashboard with the data of a Prometheus, without Grafana: what is drawn is the JSON that is applied."""
