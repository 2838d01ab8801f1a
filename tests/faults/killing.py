"""Killing a process at random moments and starting it again."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress


async def kill_at_random(
    command: Sequence[str],
    kills: int,
    chance: random.Random,
    most_seconds: float,
    done: Callable[[], Awaitable[bool]],
    last_run_seconds: float = 60.0,
) -> int:
    """Start ``command``, SIGKILL it up to ``most_seconds`` after its first line of output, and again, ``kills`` times.

    The last run is left alone until it ends by itself. Returns how often it was really killed: it may be ``done``
    before. Raises ``AssertionError`` if a run ends with an error, or the last one not at all.
    """
    killed = 0
    while killed < kills and not await done():
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        try:
            assert process.stdout is not None
            assert await process.stdout.readline(), "it ended before it was up"
            drain = asyncio.create_task(process.stdout.read())
            with suppress(TimeoutError):
                async with asyncio.timeout(chance.uniform(0, most_seconds)):
                    assert await process.wait() == 0
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGKILL)
                await process.wait()
                killed += 1
        await drain
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.DEVNULL)
    try:
        async with asyncio.timeout(last_run_seconds):
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return killed
