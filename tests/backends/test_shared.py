"""One compiled model for several cameras: opened once, fair, and no camera's fault is another's."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from edge.backends import open_engine
from edge.backends.openvino import OpenVinoEngine
from edge.backends.shared import Lease, SharedEngines, Turns
from edge.engine import Bundle, Engine
from edge.errors import EngineError
from edge.frame import Frame, Image
from edge.sources.flow import Latest
from edge.timing import Durations


class Opened(list[Engine]):
    """Each engine that is opened, in turn."""

    def __call__(self, *words: Any, **options: Any) -> Engine:
        self.append(open_engine(*words, **options))
        return self[-1]


@pytest.fixture
def opened() -> Opened:
    return Opened()


def test_cameras_that_ask_for_the_same_share_one_compiled_model(
    opened: Opened, colour_bundle: Bundle, flag: Image, flag_classes: Image
) -> None:
    engines = SharedEngines(opened)
    with ThreadPoolExecutor(4) as pool:  # at the same time, as cameras do at a start
        leases = list(pool.map(lambda _: engines.lease(colour_bundle.folder, cameras=4), range(4)))
    assert len(opened) == engines.models == 1
    models = [lease._now._new_request.__self__ for lease in leases]  # type: ignore[attr-defined]
    assert all(model is models[0] for model in models)
    assert len({id(lease._now) for lease in leases}) == 4, "a request for each"
    for lease in leases:
        assert np.array_equal(lease.infer(flag)["semantic"], flag_classes)
    for lease in leases[:-1]:
        lease.close()
    assert np.array_equal(leases[-1].infer(flag)["semantic"], flag_classes)
    leases[-1].close()
    assert engines.models == 0
    with pytest.raises(EngineError, match="is closed"):
        opened[0].infer(flag)


@pytest.mark.parametrize("other", [{"precision": "f32"}, {"threads": 1}, {"backend": "onnxruntime"}])
def test_what_asks_for_something_else_has_an_engine_of_its_own(
    other: dict[str, Any], opened: Opened, colour_bundle: Bundle
) -> None:
    pytest.importorskip("onnxruntime")
    engines = SharedEngines(opened)
    with engines.lease(colour_bundle.folder), engines.lease(colour_bundle.folder, **other):
        assert len(opened) == 2


def test_an_engine_that_does_not_open_leaves_nothing_behind(colour_bundle: Bundle) -> None:
    engines = SharedEngines()
    with pytest.raises(EngineError, match="1 to"):
        engines.lease(colour_bundle.folder, threads=999)
    assert engines.models == 0


# ------------------------------------------------------------------------------------------------------------ fairness


def test_the_next_turn_is_of_the_one_that_worked_longest_ago() -> None:
    turns, order = Turns(1), []
    turns.take(0, threading.Semaphore(0))
    waiting = []
    for last_ns in (30, 10, 20):
        thread = threading.Thread(target=lambda at=last_ns: (turns.take(at, threading.Semaphore(0)), order.append(at)))
        thread.start()
        waiting.append(thread)
        while len(turns._waiting) < len(waiting):
            time.sleep(0.001)
    for number in range(3):
        turns.give()
        while len(order) <= number:
            time.sleep(0.001)
    assert order == [10, 20, 30]


def test_as_many_work_at_once_as_the_engine_has_streams() -> None:
    turns = Turns(2)
    turns.take(0, threading.Semaphore(0))
    turns.take(0, threading.Semaphore(0))  # would hang
    turns.give()
    turns.give()
    assert turns._free == 2


def test_under_load_each_camera_gets_as_many_turns_as_the_others(
    colour_bundle: Bundle, flag: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However eager one is: three cameras want every turn, one of them with four times the frames' worth of work."""
    engines, counts, ends = SharedEngines(), [0, 0, 0], threading.Event()
    infer = OpenVinoEngine.infer

    def infer_slowly(engine: OpenVinoEngine, image: Image) -> Any:
        time.sleep(0.002)
        return infer(engine, image)

    monkeypatch.setattr(OpenVinoEngine, "infer", infer_slowly)

    def drive(place: int) -> None:
        with engines.lease(colour_bundle.folder, cameras=3, threads=1) as lease:
            while not ends.is_set():
                lease.infer(flag)
                counts[place] += 1

    threads = [threading.Thread(target=drive, args=(place,)) for place in range(3)]
    for thread in threads:
        thread.start()
    while sum(counts) < 150:
        time.sleep(0.01)
    ends.set()
    for thread in threads:
        thread.join(10)
    assert max(counts) - min(counts) <= 0.2 * max(counts), counts


class Numbers:
    """A source that gives a frame each time that it is let."""

    name, size_wh, rate_hz, frame_count, live = "numbers", (64, 48), 30.0, None, True

    def __init__(self) -> None:
        self.decode, self.lets, self.given = Durations(), threading.Semaphore(0), 0

    def __enter__(self) -> Numbers:
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def close(self) -> None:
        pass

    def stop(self) -> None:
        self.given = -1
        self.lets.release()

    def __iter__(self) -> Any:
        image = np.zeros((48, 64, 3), np.uint8)
        while self.lets.acquire() and self.given >= 0:
            self.given += 1
            yield Frame(index=self.given, captured_ns=time.monotonic_ns(), source="numbers", bgr=image)


def test_a_camera_that_waited_for_its_turn_gets_its_newest_frame() -> None:
    source, turn, waits = Numbers(), threading.Event(), threading.Event()

    def await_turn() -> None:
        waits.set()
        turn.wait(60)

    with Latest(source, before_take=await_turn) as frames:
        source.lets.release()
        taken: list[int] = []
        thread = threading.Thread(target=lambda: taken.append(next(iter(frames)).index))
        thread.start()
        assert waits.wait(30)  # for frame 1
        for _ in range(3):
            source.lets.release()
        while frames.dropped < 3:
            time.sleep(0.001)
        turn.set()
        thread.join(30)
        assert taken == [4]


# ------------------------------------------------------------------------------------------------------------- faults


class Faults:
    """Makes the inferences of some leases fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.of: set[int] = set()
        infer = OpenVinoEngine.infer

        def infer_or_fail(engine: OpenVinoEngine, image: Image) -> Any:
            if id(engine) in self.of:
                raise EngineError("inference failed")
            return infer(engine, image)

        monkeypatch.setattr(OpenVinoEngine, "infer", infer_or_fail)

    def add(self, lease: Lease) -> None:
        self.of.add(id(lease._now))


def test_one_cameras_error_takes_no_turn_and_no_engine_from_the_other(
    opened: Opened, colour_bundle: Bundle, flag: Image, flag_classes: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    engines, faults = SharedEngines(opened), Faults(monkeypatch)
    front, rear = (engines.lease(colour_bundle.folder, cameras=2, threads=1) for _ in range(2))
    faults.add(front)
    for _ in range(5):
        with pytest.raises(EngineError, match="inference failed"):
            front.infer(flag)
        assert np.array_equal(rear.infer(flag)["semantic"], flag_classes)
    front.close()
    again = engines.lease(colour_bundle.folder, cameras=2, threads=1)
    assert np.array_equal(again.infer(flag)["semantic"], flag_classes)
    assert len(opened) == 1
    for lease in (rear, again):
        lease.close()
    assert engines.models == 0


def test_a_camera_that_ends_between_its_frame_and_its_inference_gives_its_turn_on(
    colour_bundle: Bundle, flag: Image
) -> None:
    engines = SharedEngines()
    front, rear = (engines.lease(colour_bundle.folder, cameras=2, threads=1) for _ in range(2))
    front.await_turn()
    front.close()
    rear.infer(flag)  # would hang
    rear.close()


def test_an_engine_that_fails_for_all_is_opened_anew_for_who_comes_next(
    opened: Opened, colour_bundle: Bundle, flag: Image, flag_classes: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    engines, faults = SharedEngines(opened), Faults(monkeypatch)
    front, rear = (engines.lease(colour_bundle.folder, cameras=2, threads=1) for _ in range(2))
    for lease in (front, rear):
        faults.add(lease)
        with pytest.raises(EngineError, match="inference failed"):
            lease.infer(flag)
    front.close()
    again = engines.lease(colour_bundle.folder, cameras=2, threads=1)
    assert len(opened) == 2
    assert np.array_equal(again.infer(flag)["semantic"], flag_classes)
    rear.close()
    again.close()
    assert engines.models == 0
