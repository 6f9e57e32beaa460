"""Another engine for a running service: between two frames, on trial, and back by itself where masks get worse."""

from __future__ import annotations

import logging
import stat
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from bundles import COLOUR_WH, MakeCard

pytest.importorskip("uvicorn", reason="the live page needs the serve extra")

from running import Run, played, running, soon

from edge.config import parse_tree
from edge.engine import MODEL_FILE, Bundle, write_bundle
from edge.errors import ConfigError, OutputError
from edge.prediction import Prediction
from edge.service.camera import CameraLoop
from edge.service.changes import TrialFigures
from edge.service.config import ServeConfig
from edge.service.control import ask_swap
from edge.service.load import Ages
from edge.service.shadow import Compared
from edge.service.swap import Swap, is_swap

CAMERA = "/dev/video0"


@pytest.fixture
def run_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    monkeypatch.setattr("edge.service.shadow.LOW", 0)  # on a busy machine a trial would take minutes
    monkeypatch.setattr("edge.service.swap.LONGEST", 100)
    with running(tmp_path) as run:
        yield run


def averaging(folder: Path, make_card: MakeCard, last: str) -> Bundle:
    """As the colour engine, but for the last operation: from the `means` of 8x8 cells to the `logits`."""
    onnx = pytest.importorskip("onnx")
    from edge.compile.wrap import wrap

    width, height = COLOUR_WH
    net = f"mean (float[1,3,{height},{width}] input) => (float[1,3,{height // 8},{width // 8}] logits)"
    body = f"means = AveragePool <kernel_shape = [8, 8], strides = [8, 8]> (input) logits = {last} (means)"
    model = wrap(onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["": 17]> {net} {{ {body} }}'), COLOUR_WH)
    content = model.SerializeToString(deterministic=True)
    return write_bundle(folder, {MODEL_FILE: content}, make_card(content, name=folder.name))


@pytest.fixture
def opposite(make_card: MakeCard, tmp_path: Path) -> Bundle:
    """It takes the weakest colour for the strongest."""
    return averaging(tmp_path / "opposite", make_card, "Neg")


@pytest.fixture
def twin(make_card: MakeCard, tmp_path: Path) -> Bundle:
    """Another engine with the same answers."""
    return averaging(tmp_path / "twin", make_card, "Identity")


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Each step that is announced to the broker, with its reason."""
    found: list[tuple[str, str]] = []
    monkeypatch.setattr(CameraLoop, "announce_engine", lambda _, step, facts: found.append((step, facts["reason"])))
    return found


def settings(folder: Path, engine: str, **more: Any) -> dict[str, Any]:
    return {
        **played(folder, rate_hz=4),  # slow: no frame is dropped, however busy the machine is
        "engine": engine,
        "web": {"port": 0},
        "control": str(folder / "control.sock"),
        **more,
    }


@pytest.fixture
def frames(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The index of each frame that got a mask."""
    found, count = list[int](), CameraLoop._count

    def count_and_keep(loop: CameraLoop, result: Prediction) -> None:
        found.append(result.frame.index)
        count(loop, result)

    monkeypatch.setattr(CameraLoop, "_count", count_and_keep)
    return found


@pytest.mark.slow
def test_no_frame_lacks_a_mask_over_a_swap_that_is_kept(
    run_service: Run,
    tmp_path: Path,
    colour_bundle: Bundle,
    twin: Bundle,
    steps: list[tuple[str, str]],
    frames: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("edge.service.service.TOLD_S", 0.0)
    service, manager = run_service(
        settings(tmp_path, str(colour_bundle.folder), swap={"trial_s": 1.5, "age": 100.0, "every": 1})
    )
    (camera,) = service._cameras
    assert soon(lambda: camera.published > 5)
    answer = ask_swap(str(tmp_path / "control.sock"), str(twin.folder), "f32")
    assert answer.startswith(f"engine {twin.folder}:f32 follows {colour_bundle.folder}, on trial for 1.5 s")
    assert soon(lambda: "twin:f32 on trial for" in manager.status_text)
    assert soon(lambda: camera.live.card.name == "twin")
    assert soon(lambda: [step for step, _ in steps] == ["trial", "kept"]), steps
    after = camera.published
    assert soon(lambda: camera.published > after + 5)
    assert soon(lambda: camera.changes._shared.models == 1), "the former engine is closed"
    assert frames == list(range(frames[0], frames[0] + len(frames)))
    assert camera.live.card.name == "twin"


@pytest.mark.slow
def test_an_engine_that_disagrees_gives_way_to_the_former_one_without_a_gap(
    run_service: Run,
    tmp_path: Path,
    colour_bundle: Bundle,
    opposite: Bundle,
    steps: list[tuple[str, str]],
    frames: list[int],
) -> None:
    service, _ = run_service(settings(tmp_path, str(colour_bundle.folder), swap={"every": 1, "age": 100.0}))
    (camera,) = service._cameras
    assert soon(lambda: camera.published > 3)
    ask_swap(str(tmp_path / "control.sock"), str(opposite.folder), None)
    assert soon(lambda: len(steps) == 2), steps
    assert [step for step, _ in steps] == ["trial", "back"]
    assert "of the pixels have another class (limit 10.0%)" in steps[1][1]
    assert soon(lambda: camera.live.card.name == "colours")
    after = camera.published
    assert soon(lambda: camera.published > after + 3)
    assert frames == list(range(frames[0], frames[0] + len(frames)))
    assert soon(lambda: camera.changes._shared.models == 1)
    assert service._swaps._config.engine == str(colour_bundle.folder)


def test_what_cannot_follow_is_refused_with_a_reason_and_changes_nothing(
    run_service: Run, tmp_path: Path, colour_bundle: Bundle, steps: list[tuple[str, str]]
) -> None:
    colours = str(colour_bundle.folder)
    service, _ = run_service(settings(tmp_path, colours))
    (camera,) = service._cameras
    assert soon(lambda: camera.published > 3)
    path = tmp_path / "control.sock"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for engine, precision, reason in [
        ("raod", None, "no engine is called 'raod'"),
        ("road", None, "road has other classes than colours"),
        (colours, None, "colours works already"),
        (colours, "fp64", "expected a precision of"),
    ]:
        with pytest.raises(ConfigError, match=reason):
            ask_swap(str(path), engine, precision)
    assert steps == []
    assert camera.live.card.name == "colours"


def test_where_no_service_listens_the_message_says_what_to_look_at(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="no service listens there"):
        ask_swap(str(tmp_path / "control.sock"), "road", None)


def test_sighup_with_another_engine_alone_is_a_swap_and_with_more_a_reload(colour_bundle: Bundle) -> None:
    def config(**more: Any) -> ServeConfig:
        return parse_tree({"camera": CAMERA, "web": {}, **more}, ServeConfig, "a test")

    assert is_swap(config(), config(precision="f32"))
    assert not is_swap(config(), config())
    assert not is_swap(config(), config(precision="f32", confidence=True))
    assert not is_swap(config(), config(engine=str(colour_bundle.folder))), "other classes"


# ---------------------------------------------------------------------------------------------------------- the limits


class Camera:
    """On trial, with figures of a table."""

    name = "front"

    def __init__(self, figures: TrialFigures) -> None:
        self.orders: list[str] = []
        self.steps: list[tuple[str, str]] = []
        self.changes: Any = SimpleNamespace(
            trial_figures=lambda: figures,
            keep=lambda: self.orders.append("keep"),
            take_back=lambda: self.orders.append("take_back"),
        )

    def announce_engine(self, step: str, facts: Any) -> None:
        self.steps.append((step, facts["reason"]))


def compared(share: float = 0.0, unlike: float | None = 0.4, other: float | None = 0.4, frames: int = 50) -> Compared:
    return Compared(frames, share=share, unlike=unlike, other_unlike=other)


LIMITS = {
    "as good": (TrialFigures(30, 40, compared(0.05, 0.6)), ""),
    "ages unknown": (TrialFigures(None, None, compared()), ""),
    "age": (TrialFigures(30, 50, compared()), "p99 of the age is 50 ms, was 30 (limit 45)"),
    "age, by little": (TrialFigures(2, 6, compared()), ""),
    "age of before unknown": (TrialFigures(None, 500, compared()), ""),
    "agreement": (TrialFigures(30, 30, compared(0.2)), "20.0% of the pixels have another class (limit 10.0%)"),
    "domain": (TrialFigures(30, 30, compared(0.0, 0.9)), "looks unlike its training data: 0.90, was 0.40"),
    "no fingerprint": (TrialFigures(30, 30, compared(0.0, 0.9, None)), ""),
}


@pytest.mark.parametrize("name", LIMITS)
def test_each_limit_takes_the_former_engine_back_and_else_the_trial_ends_well(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    figures, reason = LIMITS[name]
    camera, now_s = Camera(figures), [0.0]
    before, now = (
        parse_tree({"camera": CAMERA, "web": {}, "precision": precision}, ServeConfig, "a test")
        for precision in ("int8", "f32")
    )
    with caplog.at_level(logging.INFO):
        swap = Swap([camera], before, now, lambda: now_s[0])
        assert swap.look() == ("back" if reason else "")
        now_s[0] = 60.1
        if not reason:
            assert swap.look() == "kept"
    assert camera.orders == (["take_back"] if reason else ["keep"])
    assert [step for step, _ in camera.steps] == ["trial", "back" if reason else "kept"]
    assert reason in camera.steps[-1][1]
    assert "road:f32" in caplog.text


@pytest.mark.parametrize("masks", [None, compared(0.9, frames=3)])
def test_without_enough_frames_to_compare_the_trial_lasts_longer_and_then_the_former_engine_is_back(
    masks: Compared | None,
) -> None:
    camera, now_s = Camera(TrialFigures(30, 30, masks)), [0.0]
    config = parse_tree({"camera": CAMERA, "web": {}}, ServeConfig, "a test")
    swap = Swap([camera], config, config, lambda: now_s[0])
    now_s[0] = 290.0
    assert swap.look() == ""
    now_s[0] = 300.1
    assert swap.look() == "back"
    assert "could not be compared" in camera.steps[-1][1]


def test_ages_are_those_of_the_newest_masks() -> None:
    ages = Ages()
    for _ in range(99):
        ages.add(500.0)
    assert ages.p99() is None
    for _ in range(2000):
        ages.add(20.0)
    assert ages.p99() == 20.0


def test_an_answer_that_no_one_waits_for_ends_nothing(run_service: Run, tmp_path: Path, colour_bundle: Bundle) -> None:
    import socket

    service, _ = run_service(settings(tmp_path, str(colour_bundle.folder)))
    (camera,) = service._cameras
    assert soon(lambda: camera.published > 1)
    for request in (b'{"swap": {"engine": "raod"}}\n', b"{}\n", b"\xff\n", b""):
        with socket.socket(socket.AF_UNIX) as line:
            line.connect(str(tmp_path / "control.sock"))
            line.sendall(request)
    with pytest.raises(ConfigError, match="works already"):
        ask_swap(str(tmp_path / "control.sock"), str(colour_bundle.folder), None)
