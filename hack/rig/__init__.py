"""The rig: a real control plane and a real Prometheus stack on a plain Linux machine, without Docker."""
