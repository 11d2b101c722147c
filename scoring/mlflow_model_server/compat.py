"""What Python has had since 3.11, for the image of 3.10."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timezone

UTC = timezone.utc

if sys.version_info >= (3, 11):
    timeout = asyncio.timeout
else:

    @asynccontextmanager
    async def timeout(seconds: float | None) -> AsyncIterator[None]:
        """Raises TimeoutError in the block after so many seconds; None: never."""
        task, expired = asyncio.current_task(), []
        assert task is not None

        def expire() -> None:
            expired.append(True)
            task.cancel()

        loop = asyncio.get_running_loop()
        timer = None if seconds is None else loop.call_later(seconds, expire)
        try:
            yield
        except asyncio.CancelledError:
            if expired:
                raise TimeoutError from None
            raise
        finally:
            if timer is not None:
                timer.cancel()


def moment(text: str) -> datetime:
    """`datetime.fromisoformat`, which reads the Z of UTC from 3.11 on. Raises ValueError."""
    return datetime.fromisoformat(f"{text[:-1]}+00:00" if text[-1:] in ("Z", "z") else text)


def module_command(module: str) -> list[str]:
    """What runs a module in a new process, in which the working directory holds no modules."""
    if sys.version_info >= (3, 11):
        return [sys.executable, "-P", "-m", module]
    run = "runpy.run_module(sys.argv.pop(1), run_name='__main__', alter_sys=True)"
    return [sys.executable, "-c", f"import runpy, sys; sys.path.remove(''); {run}", module]
