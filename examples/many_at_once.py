"""Images from many askers, as a web server has them, with asyncio: python examples/many_at_once.py a.png b.png"""

import asyncio
import sys

import cv2

import edge


async def road_in(engine: edge.Engine, path: str) -> str:
    image = await asyncio.to_thread(cv2.imread, path)  # uint8 (H, W, 3) BGR
    result = await asyncio.to_thread(engine, image)  # the event loop goes on meanwhile
    return f"{path}: {result.mask('road').mean():.1%} road"


async def main(paths: list[str]) -> None:
    # As many images are worked on side by side as the engine has streams; the others wait their turn.
    with edge.open_engine("road", side_by_side=True) as engine:
        for answer in await asyncio.gather(*(road_in(engine, path) for path in paths)):
            print(answer)


asyncio.run(main(sys.argv[1:]))
