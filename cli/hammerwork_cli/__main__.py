"""The command `hammerwork`, also as `python -m hammerwork_cli`."""

from __future__ import annotations

import sys
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line; ends the process with the command's exit code."""
    try:
        from hammerwork_cli.application import make_application  # noqa: PLC0415 (needs extras)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package.startswith("hammerwork"):
            raise
        sys.stderr.write(
            f"hammerwork: the command line needs the package {package!r}: pip install 'hammerwork-operator[cli]'\n"
        )
        sys.exit(2)
    try:
        make_application()(prog_name="hammerwork")
    except SystemExit as end:
        _leave(end.code)
    _leave(0)


def _leave(code: object) -> NoReturn:
    """End the process, also while a handler's thread hangs."""
    # Not imported before it is known what is missing.
    from hammerwork.service.ending import leave_threads_behind  # noqa: PLC0415
    from hammerwork.working.threads import any_left  # noqa: PLC0415

    status = code if isinstance(code, int) else int(code is not None)
    sys.exit(leave_threads_behind(status, hanging=any_left()))


if __name__ == "__main__":
    main()
