"""A second engine beside the first: what it reports, and that it takes nothing from the loop."""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import Any

import numpy as np
import pytest
from bundles import COLOUR_WH
from running import soon

from edge.backends import open_engine
from edge.backends.openvino import OpenVinoEngine
from edge.engine import Bundle
from edge.frame import Frame, Image
from edge.prediction import Prediction
from edge.segmenter import Segmenter
from edge.service.shadow import Shadow, Wish


@pytest.fixture
def results(colour_bundle: Bundle, flag: Image) -> list[Prediction]:
    """What the colour engine sees in the flag, thirty times; in every third it is wrong about all of its left half."""
    with open_engine(colour_bundle.folder) as engine:
        segmenter = Segmenter(engine)
        found = [segmenter.segment(Frame(index=i, captured_ns=i, source="flag", bgr=flag)) for i in range(30)]
    for result in found[::3]:
        result.semantic[:, : COLOUR_WH[0] // 2] = (result.semantic[:, : COLOUR_WH[0] // 2] + 1) % 3
    return found


def shadow_of(bundle: Bundle, every: int = 1, **options: Any) -> Shadow:
    return Shadow(Wish(str(bundle.folder), None, "openvino", nice=0), lambda: bundle.card, every, "", **options)


def test_its_disagreement_is_reported_by_group_with_the_frames_that_are_worst(
    colour_bundle: Bundle, results: list[Prediction]
) -> None:
    worst: list[int] = []

    def keep(result: Prediction, share: float) -> None:
        if share > 0.4:
            worst.append(result.frame.index)

    shadow = shadow_of(colour_bundle, on_compared=keep)
    for number, result in enumerate(results, 1):
        assert soon(lambda: not shadow._busy)
        shadow.offer(result)
        assert soon(lambda n=number: shadow.compared.frames == n)
    found = shadow.compared
    shadow.close()
    assert found.share == pytest.approx(1 / 6, abs=0.02)
    assert worst == [result.frame.index for result in results[::3]]
    assert set(found.by_group) == set(colour_bundle.card.table.groups)
    assert all(0 < share < 1 for share in found.by_group.values())
    assert found.health.state == "ok"
    assert found.health.levels["disagreement"] == round(found.share, 4)
    assert found.health.totals == {"compared": 30, "skipped": 0}


def test_the_loop_never_waits_for_it(
    colour_bundle: Bundle, results: list[Prediction], monkeypatch: pytest.MonkeyPatch
) -> None:
    goes_on, hangs = threading.Event(), threading.Event()

    def hang(engine: OpenVinoEngine, image: Image) -> Any:
        hangs.set()
        goes_on.wait(60)
        return engine.infer(image)

    monkeypatch.setattr(OpenVinoEngine, "infer_aside", hang)
    shadow = shadow_of(colour_bundle, every=2)
    assert soon(lambda: not shadow._busy)
    shadow.offer(results[0])
    shadow.offer(results[1])
    assert hangs.wait(30)
    for result in results[2:]:  # would hang
        shadow.offer(result)
    assert shadow.compared.skipped == 14
    goes_on.set()
    assert soon(lambda: shadow.compared.frames == 1)
    shadow.close()


def test_a_second_engine_that_does_not_open_is_reported_and_ends_nothing(
    colour_bundle: Bundle, results: list[Prediction]
) -> None:
    shadow = Shadow(Wish(str(colour_bundle.folder), "fp64", None, nice=0), lambda: colour_bundle.card, 1, "")
    assert soon(lambda: shadow.compared.failure)
    shadow.offer(results[0])
    assert shadow.compared.health.state == "lost"
    shadow.close()


PRIORITIES = """
import os, threading
from contextlib import suppress
from pathlib import Path
import numpy as np
from edge.service.shadow import Wish, open_aside

def times():  # of each thread: ticks of CPU, and nice
    stats = {}
    for task in Path("/proc/self/task").iterdir():
        with suppress(OSError):  # it has ended
            stats[task.name] = (task / "stat").read_text()
    fields = {name: text.rsplit(")", 1)[1].split() for name, text in stats.items()}
    return {name: (int(of[11]) + int(of[12]), int(of[16])) for name, of in fields.items()}

own = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
with open_aside(Wish("road", None, "openvino", nice=own + 2)) as engine:  # the lowest takes a busy machine minutes
    width, height = engine.card.input_wh
    image = np.zeros((height, width, 3), np.uint8)
    before = times()
    for _ in range(10):
        engine.infer(image)
    after = times()
spent = {task: after[task][0] - before.get(task, (0, 0))[0] for task in after}
low = sum(ticks for task, ticks in spent.items() if after[task][1] == own + 2)
assert low > 0.8 * sum(spent.values()), (own, after, spent)
assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == own
"""


@pytest.mark.slow
def test_its_inferences_run_in_threads_of_lower_priority_than_the_callers() -> None:
    """In a process of its own: OpenVINO keeps the threads of engines that were closed for the next one."""
    done = subprocess.run([sys.executable, "-c", PRIORITIES], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_masks_of_both_ways_to_infer_are_the_same(colour_bundle: Bundle, flag: Image) -> None:
    with OpenVinoEngine(colour_bundle) as engine:
        assert np.array_equal(engine.infer(flag)["semantic"], engine.infer_aside(flag)["semantic"])
