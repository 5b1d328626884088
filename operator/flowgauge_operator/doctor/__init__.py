"""`flowgauge doctor`: look at a cluster and at one workflow, and say what keeps the monitoring from working.

`gather` asks and fills a `snapshot`; `diagnosis` runs the pure checks over it; `report` prints what they found.
"""
