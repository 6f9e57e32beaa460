"""The panels of docs/how-to/grafana.json, drawn by matplotlib from what a real Prometheus answers to their queries.

Grafana draws them its own way. You need: apt-get install prometheus.
"""

from __future__ import annotations

import json
import re
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.chromium import serving

SCRAPED_S, STEP_S = 150, 2
PANELS = 4  # of the dashboard, the first ones
SETTINGS = {"font.size": 8, "axes.titlesize": 9, "legend.fontsize": 6.5, "svg.hashsalt": "edge", "svg.fonttype": "none"}
STYLES = {"light": "default", "dark": "dark_background"}


def write_panels(room: Path, stem: Path) -> None:
    """STEM-light.svg and STEM-dark.svg: the panels of a service that plays the demo's street for some minutes."""
    dashboard = json.loads(Path("docs/how-to/grafana.json").read_text(encoding="utf-8"))
    street = str(Path("demo/street.mp4").absolute())
    with serving(["serve", street, "--loop", "--port", "0"], str(room)) as url, prometheus(room, url) as address:
        time.sleep(SCRAPED_S)
        answers = [
            [(target, _range(address, target["expr"])) for target in panel["targets"]] for panel in dashboard["panels"]
        ]
    for scheme, style in STYLES.items():
        _draw(
            [panel["title"] for panel in dashboard["panels"]],
            answers,
            style,
            stem.with_name(f"{stem.name}-{scheme}.svg"),
        )


@contextmanager
def prometheus(room: Path, url: str) -> Iterator[str]:
    """The address of a Prometheus with the page's configuration, but scraping that service, every second."""
    (text,) = re.findall(r"```yaml\n(.*?)```", Path("docs/how-to/grafana.md").read_text(encoding="utf-8"), re.DOTALL)
    target = urllib.parse.urlsplit(url).netloc
    (room / "prometheus.yml").write_text(text.replace("127.0.0.1:8008", target).replace("5s", "1s"))
    with socket.create_server(("127.0.0.1", 0)) as line:
        address = f"127.0.0.1:{line.getsockname()[1]}"
    words = ["--config.file", "prometheus.yml", "--storage.tsdb.path", "tsdb", "--web.listen-address", address]
    started = subprocess.Popen(["prometheus", *words], cwd=room, stderr=subprocess.DEVNULL)
    try:
        yield address
    finally:
        started.terminate()
        started.wait()


def _range(address: str, query: str) -> list[dict[str, Any]]:
    now = time.time()
    words = urllib.parse.urlencode({"query": query, "start": now - SCRAPED_S + 30, "end": now, "step": STEP_S})
    with urllib.request.urlopen(f"http://{address}/api/v1/query_range?{words}", timeout=30) as answer:
        return json.load(answer)["data"]["result"]


def _draw(titles: list[str], answers: list[Any], style: str, path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    with plt.style.context([style, SETTINGS]):
        figure, axes = plt.subplots(2, PANELS // 2, figsize=(11, 5.4), layout="constrained")
        for axis, title, targets in zip(axes.flat, titles, answers, strict=False):
            for target, series in targets:
                for one in series:
                    points = [(float(at), float(value)) for at, value in one["values"]]
                    label = re.sub(
                        r"{{(\w+)}}", lambda found, one=one: one["metric"].get(found[1], ""), target["legendFormat"]
                    )
                    axis.plot(
                        [at - points[0][0] for at, _ in points],
                        [value for _, value in points],
                        label=label,
                        linewidth=1,
                    )
            axis.set(title=title, xlabel="s")
            axis.set_ylim(bottom=0)
            axis.grid(alpha=0.25)
            axis.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
        figure.savefig(path, metadata={"Date": None})
        plt.close(figure)
