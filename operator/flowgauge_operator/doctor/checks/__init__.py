"""The checks: each takes a snapshot and yields findings. Pure; they ask nobody."""
