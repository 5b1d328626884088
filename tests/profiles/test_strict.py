"""Words without quotes; what they are is what `kubectl label --local --output json` printed of the same text."""

import json

import pytest
import yaml

from flowgauge.profiles import StrictLoader

AS_KUBECTL = """
1e3: 1000
1E3: 1000
1.5e3: 1500
0o7: 7
0777: 511
0x1F: 31
0b11: 3
08: 8
1_000: 1000
1_0.5: 10.5
+1: 1
-0: 0
.5: 0.5
5.: 5
5.0: 5
1:30: "1:30"
190:20:30: "190:20:30"
2026-01-01: "2026-01-01"
2026-01-01T22:00:00Z: "2026-01-01T22:00:00Z"
y: true
n: false
on: true
Off: false
nO: "nO"
~: null
Null: null
=: "="
12e: "12e"
v1: "v1"
1.2.3: "1.2.3"
"""


@pytest.mark.parametrize("line", AS_KUBECTL.strip().splitlines())
def test_a_word_without_quotes_is_what_it_is_to_kubectl(line):
    word, _, expected = line.rpartition(": ")

    assert json.dumps(yaml.load(word, StrictLoader)) == expected  # noqa: S506 - a SafeLoader
