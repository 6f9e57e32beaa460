"""The live page over a rendered street, to look at; Ctrl-C ends it.

python -m benchmarks.live_page [--source "scene:street?size=1280x720&fps=30&frames=0"] [--port 8008]
"""

from __future__ import annotations

import argparse

from edge.backends import open_engine
from edge.pipeline import buffered, run
from edge.report import summary_text
from edge.segmenter import Segmenter
from edge.sources.open import open_source
from edge.timing import Stages
from edge.web.options import WebOptions
from edge.web.server import WebServer
from edge.web.sink import WebSink
from edge.web.state import Live


def main() -> None:
    """Serve until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", default="scene:street?size=1280x720&fps=30&frames=0")
    parser.add_argument("--engine", default="road")
    parser.add_argument("--port", type=int, default=8008)
    wish = parser.parse_args()
    source = buffered(open_source(wish.source), live=True)
    with open_engine(wish.engine) as engine:
        segmenter, stages = Segmenter(engine), Stages()
        live = Live(
            engine,
            wish.source,
            lambda: {"decode": source.decode, **segmenter.stages.by_name, **stages.by_name},
        )
        with WebServer(live, WebOptions(port=wish.port)) as server:
            print(f"live page: {server.url}", flush=True)
            print(summary_text(run(source, segmenter, [WebSink(live)], stages)))


if __name__ == "__main__":
    main()
