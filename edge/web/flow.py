"""A viewer answers each message with "next". At most `AHEAD` are sent ahead of that: one who reads slowly gets fewer
messages, and never old ones.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine

from starlette.websockets import WebSocket

AHEAD = 2  # one under way while the next is made
UNASKED_MAX = 1000  # messages of one viewer that answer none


class FlowControl:
    """How many messages a viewer has not answered.

    Attributes:
        unanswered: so many. Who sends counts before it sends: the answer may be there before the sending is over.
    """

    def __init__(self, on_word: Callable[[str], object] | None = None) -> None:
        """`on_word` is called with whatever else the viewer says; what it raises ends `listen`."""
        self.unanswered, self._on_word = 0, on_word
        self._one_came = asyncio.Event()

    async def listen(self, socket: WebSocket) -> None:
        """Count answers until the viewer leaves.

        Who sends `UNASKED_MAX` messages that answer none is not read any more: its connection fills up; it takes no
        time from the masks, and is let go like one who is silent.
        """
        unasked = 0
        while True:
            message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            text = message.get("text") or ""
            if text == "next" and self.unanswered:
                self.unanswered -= 1
                self._one_came.set()
            elif text != "next" and self._on_word is not None:
                self._on_word(text)
            else:
                unasked += 1
                if unasked > UNASKED_MAX:
                    await asyncio.Event().wait()

    async def wait_for_capacity(self) -> None:
        """Wait until one more message may be sent."""
        while self.unanswered >= AHEAD:
            self._one_came.clear()
            await self._one_came.wait()


async def until_one_ends(*works: Coroutine[None, None, None]) -> list[BaseException | None]:
    """Do them side by side until one ends, and end the others then; what each raised."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
    return ends
