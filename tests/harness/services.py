"""HTTP services that handlers post to, on the test's own event loop."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable


@contextlib.asynccontextmanager
async def serving(
    answer: Callable[[web.Request], Awaitable[web.StreamResponse]], *, port: int = 0
) -> AsyncIterator[str]:
    """Serve /jobs during a block; gives the URL. Requests that are cut short by the client are cancelled."""
    app = web.Application()
    app.router.add_post("/jobs", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/jobs"
    finally:
        await runner.cleanup()
