from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from stand_in import result_of

from edge.errors import OutputError
from edge.prediction import Prediction
from edge.sinks.background import Background

CLASSES = np.zeros((2, 2), np.uint8)
IMAGE = np.zeros((2, 2, 3), np.uint8)
LONG_S = 20.0


class Notebook:
    """Notes what it is given; `before` is called with the frame's index first, and may wait or fail."""

    def __init__(
        self, before: Callable[[int], object] = lambda index: None, at_exit: BaseException | None = None
    ) -> None:
        self.seen: list[tuple[int, int]] = []
        self.left_with: list[type[BaseException] | None] = []
        self._before, self._at_exit = before, at_exit

    def write(self, result: Prediction, dropped: int) -> None:
        self._before(result.frame.index)
        self.seen.append((result.frame.index, dropped))

    def __enter__(self) -> Notebook:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        assert error is None or type(error) is kind
        self.left_with.append(kind)
        if self._at_exit is not None:
            raise self._at_exit


def result(index: int) -> Prediction:
    return result_of(index, CLASSES, image=IMAGE)


def write_all(sink: Background, count: int) -> None:
    for index in range(count):
        sink.write(result(index), 0)


def fail_at(number: int) -> Callable[[int], object]:
    def before(index: int) -> None:
        if index == number:
            raise OutputError(f"cannot write {index}")

    return before


def wait_until(condition: Callable[[], bool]) -> None:
    give_up_s = time.monotonic() + LONG_S
    while not condition():
        assert time.monotonic() < give_up_s, "waited in vain"
        time.sleep(0.001)


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


def test_every_result_arrives_in_order_with_what_was_dropped_before_it() -> None:
    notebook = Notebook()
    with Background(notebook, drop=False) as sink:
        for index in range(100):
            sink.write(result(index), index // 10)
    assert notebook.seen == [(index, index // 10) for index in range(100)]
    assert notebook.left_with == [None]
    assert sink.dropped == 0


def test_the_sink_works_in_a_thread_of_its_own_named_after_it() -> None:
    names = []
    with Background(Notebook(lambda index: names.append(threading.current_thread().name)), drop=False) as sink:
        write_all(sink, 1)
    assert names == ["sink Notebook"]


def test_a_full_row_makes_the_loop_wait_and_loses_nothing() -> None:
    go_on = threading.Semaphore(0)
    notebook = Notebook(lambda index: go_on.acquire(timeout=LONG_S))
    with Background(notebook, drop=False, depth=3) as sink:
        writer = threading.Thread(target=write_all, args=(sink, 10))
        writer.start()
        wait_until(lambda: len(sink._row) == 3)
        time.sleep(0.05)
        assert len(sink._row) == 3  # one is being written, three wait, the others are still to come
        assert writer.is_alive()
        go_on.release(10)
        writer.join(LONG_S)
    assert [index for index, _ in notebook.seen] == list(range(10))
    assert sink.dropped == 0


def test_a_full_row_of_a_live_run_loses_its_oldest_result_and_counts_it() -> None:
    started, go_on = threading.Event(), threading.Event()
    notebook = Notebook(lambda index: (started.set(), go_on.wait(LONG_S)))
    with Background(notebook, drop=True, depth=2) as sink:
        sink.write(result(0), 0)
        assert started.wait(LONG_S)
        for index in range(1, 6):
            sink.write(result(index), 0)
        assert sink.dropped == 3
        go_on.set()
    assert [index for index, _ in notebook.seen] == [0, 4, 5]


def test_what_the_sink_raises_comes_out_at_the_next_write() -> None:
    notebook = Notebook(fail_at(2))
    with pytest.raises(OutputError, match="cannot write 2"), Background(notebook, drop=False) as sink:
        write_all(sink, 10_000)
    assert [index for index, _ in notebook.seen] == [0, 1]
    assert notebook.left_with == [OutputError]


def test_a_loop_that_waits_for_a_place_is_woken_by_the_error() -> None:
    go_on = threading.Event()

    def before(index: int) -> None:
        go_on.wait(LONG_S)
        raise OutputError(f"cannot write {index}")

    threading.Timer(0.05, go_on.set).start()
    with pytest.raises(OutputError, match="cannot write 0"), Background(Notebook(before), drop=False, depth=1) as sink:
        write_all(sink, 10)


def test_what_the_sink_raises_at_its_last_result_comes_out_when_it_is_left() -> None:
    notebook = Notebook(fail_at(2))
    with pytest.raises(OutputError, match="cannot write 2"), Background(notebook, drop=False) as sink:
        write_all(sink, 3)
    assert notebook.left_with == [OutputError]


def test_what_leaving_the_sink_raises_comes_out() -> None:
    with pytest.raises(OutputError, match="no end"), Background(Notebook(at_exit=OutputError("no end")), drop=False):
        pass


def test_the_loops_own_error_reaches_the_sink_and_nothing_is_lost() -> None:
    notebook = Notebook(lambda index: time.sleep(0.005))

    def loop() -> None:
        with Background(notebook, drop=False) as sink:
            write_all(sink, 4)
            _ = 1 / 0

    with pytest.raises(ZeroDivisionError):
        loop()
    assert [index for index, _ in notebook.seen] == [0, 1, 2, 3]
    assert notebook.left_with == [ZeroDivisionError]


def test_a_sink_that_fails_while_the_loop_fails_too_is_told_with_the_loops_error_behind() -> None:
    go_on = threading.Event()

    def before(index: int) -> None:
        go_on.wait(LONG_S)
        raise OutputError("cannot write")

    def loop() -> None:
        with Background(Notebook(before), drop=False) as sink:
            write_all(sink, 1)
            go_on.set()
            _ = 1 / 0

    with pytest.raises(OutputError, match="cannot write") as caught:
        loop()
    assert isinstance(caught.value.__context__, ZeroDivisionError)


def test_ctrl_c_while_the_last_results_are_written_still_completes_them() -> None:
    main = threading.main_thread()
    assert main.ident is not None
    main_ident = main.ident

    def before(index: int) -> None:
        if index == 1:
            time.sleep(0.1)  # by now the loop has nothing to do but to wait for this thread
            signal.pthread_kill(main_ident, signal.SIGINT)

    notebook = Notebook(before)

    def loop() -> None:
        with Background(notebook, drop=False) as sink:
            write_all(sink, 4)

    with pytest.raises(KeyboardInterrupt):
        loop()
    assert [index for index, _ in notebook.seen] == [0, 1, 2, 3]
    assert notebook.left_with == [None]


def test_how_long_the_sink_is_at_one_result_is_known_while_it_hangs_and_nothing_when_it_waits() -> None:
    goes_on = threading.Event()
    with Background(Notebook(lambda index: goes_on.wait(LONG_S)), drop=True) as sink:
        assert sink.busy_s == 0
        write_all(sink, 10)
        wait_until(lambda: sink.busy_s > 0.05)
        goes_on.set()
        wait_until(lambda: sink.busy_s == 0)
