"""Monitoring without Kubernetes: what Prometheus, Alertmanager and Grafana read from files. Pure."""
