"""`python -m flowgauge_operator.cli`: the command line without those commands that need more than files."""

from flowgauge_operator.cli import main

raise SystemExit(main())
