"""The installed scripts. A pod installs the library alone; whoever types a command there is told what is missing."""

from __future__ import annotations

import sys


def flowgauge() -> int:
    """Run the command line."""
    try:
        from flowgauge_operator import cli  # noqa: PLC0415 - only now it is needed
        from flowgauge_operator.doctor import arguments as doctor  # noqa: PLC0415
        from flowgauge_operator.preview import arguments as preview  # noqa: PLC0415
    except ModuleNotFoundError as error:
        return _explain(error)
    return cli.main(more=[preview.register, doctor.register])


def operator() -> int:
    """Run the operator."""
    try:
        from flowgauge_operator import __main__ as program  # noqa: PLC0415
    except ModuleNotFoundError as error:
        return _explain(error)
    program.main()
    return 0


def operator_test() -> int:
    """Prove that an installed operator works; `helm test` runs it."""
    try:
        from flowgauge_operator import smoke  # noqa: PLC0415
    except ModuleNotFoundError as error:
        return _explain(error)
    return smoke.main(sys.argv[1:])


def _explain(error: ModuleNotFoundError) -> int:
    print(
        f"{error.name} is not installed: this needs the extra [operator]; pip install 'flowgauge[operator]'",
        file=sys.stderr,
    )
    return 2
