"""The dashboard of docs/how-to/grafana.json and the alerts beside it, as Prometheus and Grafana read them."""

from __future__ import annotations

import json
import math
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

HOME = Path(__file__).parents[2]
GUIDE = (HOME / "docs/how-to/grafana.md").read_text(encoding="utf-8")
DASHBOARD = json.loads((HOME / "docs/how-to/grafana.json").read_text(encoding="utf-8"))
TARGETS = [target for panel in DASHBOARD["panels"] for target in panel["targets"]]
ALERTS = re.findall(r"^\| [^|]+ \| `([^`]+)` \|$", GUIDE, re.MULTILINE)
PATIENCE_S = 120.0


def test_every_key_of_the_dashboard_is_one_of_grafanas_own_schema() -> None:
    sdk = pytest.importorskip("grafana_foundation_sdk", reason="pip install grafana-foundation-sdk, Python 3.11")
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.cog.plugins import register_default_plugins
    from grafana_foundation_sdk.models.dashboard import Dashboard

    assert sdk
    register_default_plugins()  # so that Prometheus' queries and time series are read by their own models
    kept = json.loads(JSONEncoder().encode(Dashboard.from_json(DASHBOARD)))
    assert list(lost(DASHBOARD, kept)) == []
    assert list(lost({**DASHBOARD, "panel": []}, kept)) == ["/panel"]


def lost(given: Any, kept: Any, path: str = "") -> Iterator[str]:
    """Where `kept` has not what was given; it may have more."""
    if isinstance(given, dict) and isinstance(kept, dict):
        for key, value in given.items():
            yield from lost(value, kept.get(key), f"{path}/{key}")
    elif isinstance(given, list) and isinstance(kept, list) and len(given) == len(kept):
        for place, pair in enumerate(zip(given, kept, strict=True)):
            yield from lost(*pair, f"{path}/{place}")
    elif given != kept:
        yield path


@pytest.mark.system
@pytest.mark.slow
def test_a_real_prometheus_has_data_for_every_query_and_the_labels_of_its_legend(tmp_path: Path) -> None:
    with served(tmp_path) as port, prometheus(tmp_path, port) as ask:
        for target in TARGETS:
            series = finite(ask, target["expr"])
            for label in re.findall(r"{{(\w+)}}", target["legendFormat"]):
                assert all(label in one["metric"] for one in series), target
        assert len(ALERTS) >= 4
        for alert in ALERTS:
            assert finite(ask, re.split(r" (?:==|>) ", alert)[0]), alert
            ask(alert)  # which Prometheus refuses where it does not parse
        (lost_camera,) = ask(next(alert for alert in ALERTS if "lost" in alert))
        assert lost_camera["metric"]["camera"] == "gone"


def finite(ask: Any, query: str) -> list[dict[str, Any]]:
    """The series that a query has, but for the lost camera's, once there are some and all are numbers: a rate needs two
    scrapes.
    """
    until_s = time.monotonic() + PATIENCE_S
    while True:
        found = [one for one in ask(query) if one["metric"].get("camera") != "gone"]
        if found and all(math.isfinite(float(one["value"][1])) for one in found):
            return found
        assert time.monotonic() < until_s, (query, found)
        time.sleep(0.2)


@contextmanager
def served(folder: Path) -> Iterator[int]:
    """The port of a service with an output and three cameras: two recordings, and one that is lost."""
    pytest.importorskip("uvicorn", reason="the live page needs the serve extra")
    street = str(HOME / "demo/street.mp4")
    config = {
        "cameras": {"front": street, "rear": f"{folder}/rear.mp4", "gone": "rtsp://127.0.0.1:9/x"},
        "loop": True,
        "recorder": {"folder": str(folder / "recordings")},
        "web": {"port": 0},
    }
    shutil.copy(street, folder / "rear.mp4")
    (folder / "edge.yaml").write_text(yaml.safe_dump(config))
    log = folder / "service.log"
    with log.open("w") as to:
        command = [sys.executable, "-m", "edge.cli", "serve", "-c", str(folder / "edge.yaml")]
        with ended(subprocess.Popen(command, stdout=to, stderr=to)):
            until_s = time.monotonic() + PATIENCE_S
            while not (found := re.search(r"live page: http://127\.0\.0\.1:(\d+)/", log.read_text())):
                assert time.monotonic() < until_s, log.read_text()
                time.sleep(0.1)
            yield int(found[1])


@contextmanager
def prometheus(folder: Path, port: int) -> Iterator[Any]:
    """Asks a Prometheus that scrapes that port as the guide has it, every second."""
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("prometheus is not installed; see: apt-get install prometheus")
    (text,) = re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)
    (folder / "prometheus.yml").write_text(text.replace(":8008", f":{port}").replace("5s", "1s"))
    with socket.create_server(("127.0.0.1", 0)) as line:
        address = f"127.0.0.1:{line.getsockname()[1]}"
    command = [program, "--config.file", str(folder / "prometheus.yml"), "--storage.tsdb.path", str(folder / "tsdb")]
    with ExitStack() as stack:
        log = stack.enter_context((folder / "prometheus.log").open("w"))
        started = subprocess.Popen([*command, "--web.listen-address", address], stdout=log, stderr=log)
        stack.enter_context(ended(started))

        def ask(query: str) -> list[dict[str, Any]]:
            words = urllib.parse.urlencode({"query": query})
            with urllib.request.urlopen(f"http://{address}/api/v1/query?{words}", timeout=10) as answer:
                return json.load(answer)["data"]["result"]

        until_s = time.monotonic() + PATIENCE_S
        while not is_ready(f"http://{address}/-/ready"):
            assert started.poll() is None, (folder / "prometheus.log").read_text()
            assert time.monotonic() < until_s, (folder / "prometheus.log").read_text()
            time.sleep(0.1)
        yield ask


def is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


@contextmanager
def ended(process: subprocess.Popen[bytes]) -> Iterator[None]:
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
