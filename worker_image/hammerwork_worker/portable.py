"""What a portable worker starts with: ``-m hammerwork_worker.portable``, in an image that is not ours."""

from __future__ import annotations

import sys

from hammerwork.working.portable import provide_authorities


def main() -> int:
    """Run the container's process and return its exit code."""
    provide_authorities()
    # Not before: aiohttp reads the certificates when it is imported.
    from hammerwork_worker.__main__ import main as work  # noqa: PLC0415

    return work()


if __name__ == "__main__":
    sys.exit(main())
