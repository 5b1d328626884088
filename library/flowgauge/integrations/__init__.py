"""Measure what other libraries run. Each module needs its library and is imported by name."""
