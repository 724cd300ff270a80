"""The loop of a killed process: what had not begun is unwound, too, and leaves nothing behind that nobody awaits."""

import gc

from qt_actors.simulation.loop import VirtualLoop
from qt_actors.simulation.world import World


async def work(heard):
    heard.append("began")


async def passed_on(inner):
    await inner


async def endless(loop, heard):
    heard.append("waits")
    try:
        await loop.create_future()
    finally:
        heard.append("unwound")
        loop.submit(passed_on(work(heard)))


def test_a_killed_process_leaves_no_coroutine_that_nobody_awaited(recwarn):
    world, heard = World(1, ("BTCUSDT",)), []
    loop = VirtualLoop(world)
    loop.submit(endless(loop, heard))
    world.happen()
    loop.submit(passed_on(work(heard)))  # not begun when the process is killed
    loop.stop()
    loop.submit(passed_on(work(heard)))
    gc.collect()
    assert heard == ["waits", "began", "unwound", "began"]
    assert [str(warning.message) for warning in recwarn] == []
