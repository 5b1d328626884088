"""The command line: what the operator would make and say, without a cluster. A module for each command.

Commands that ask others than files, such as `preview`, are added from outside: `main(more=...)`.
"""

from flowgauge_operator.cli.flag import reader
from flowgauge_operator.cli.product import each_rendered, generated, problems
from flowgauge_operator.cli.program import main
from flowgauge_operator.cli.source import InputError, objects

__all__ = ["InputError", "each_rendered", "generated", "main", "objects", "problems", "reader"]
