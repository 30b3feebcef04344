"""The operator with a clock that a test moves: `python tests/apiserver/clocked_operator.py FILE`.

The file has the time that JobBatchSchedules go by, as RFC 3339.
"""

from __future__ import annotations

import os
import sys
from datetime import datetime
from pathlib import Path

from hammerwork.service import logs, loop
from hammerwork_operator.config import Config
from hammerwork_operator.process import OperatorProcess


class Clock:
    """A time in a file; it stands still until it is set."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def program(self) -> tuple[str, ...]:
        """What Python has to run for an operator that goes by this clock."""
        return (__file__, str(self._path))

    def set(self, moment: datetime) -> None:
        """Move it."""
        written = self._path.with_suffix(".written")
        written.write_text(moment.isoformat())
        written.replace(self._path)

    def now(self) -> datetime:
        """Return what it shows."""
        return datetime.fromisoformat(self._path.read_text())


def main() -> None:
    """Run the operator until SIGTERM."""
    config = Config.from_environment(os.environ)
    logs.configure(config.log_level, config.log_format)
    loop.run(OperatorProcess(config, clock=Clock(Path(sys.argv[1])).now).run())


if __name__ == "__main__":
    main()
