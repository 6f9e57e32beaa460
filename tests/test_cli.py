"""The program as a person runs it: real files, and real processes where how one ends is what counts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import typer.main
from bundles import Done, Edge

from edge.backends import BACKENDS
from edge.cli import make_app
from edge.cli.names import (
    complete_backend,
    complete_engine,
    complete_engine_and_precision,
    complete_precision,
    engine_and_precision,
    precision_of,
)
from edge.engine import MODEL_FILE, Bundle
from edge.frame import Image

SCENE = "scene:street?seed=3&frames=6&size=320x180&fps=10"


def edge(*words: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edge.cli", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **options)  # type: ignore[call-overload]


def refused(result: subprocess.CompletedProcess[str] | Done, code: int) -> str:
    """The one line of a refusal."""
    assert result.returncode == code, result
    assert "Traceback" not in result.stderr
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("edge: ")
    return lines[0]


@pytest.fixture
def video(tmp_path: Path, flag: Image) -> Path:
    """Twelve frames of the flag at 64x48."""
    path = tmp_path / "flag.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"crf": "1"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(12):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(flag, format="bgr24")))
        container.mux(stream.encode(None))
    return path


@pytest.mark.slow
def test_run_writes_overlay_masks_and_results_of_every_frame(
    video: Path, colour_bundle: Bundle, tmp_path: Path, flag_classes: Image
) -> None:
    out = tmp_path / "out"
    result = edge(
        *("run", video, "--engine", colour_bundle.folder, "--overlay", out / "o.mp4"),
        *("--masks", out / "masks", "--results", out / "r.jsonl"),
    )
    assert result.returncode == 0, result.stderr
    assert "12 in, 12 out, 0 dropped" in result.stdout
    assert "bottleneck" in result.stdout
    for stage in ("decode", "resize", "infer", "overlay", "encode", "write"):
        assert stage in result.stdout
    with av.open(str(out / "o.mp4")) as overlay:
        assert len(list(overlay.decode(video=0))) == 12
    assert sorted(path.name for path in (out / "masks").iterdir()) == [f"{i:06d}.png" for i in range(12)]
    mask = cv2.imread(str(out / "masks" / "000000.png"), cv2.IMREAD_UNCHANGED)
    assert mask.shape == (48, 64)
    assert (mask == flag_classes).mean() > 0.97  # chroma is half as fine as the stripes
    records = [json.loads(line) for line in (out / "r.jsonl").read_text().splitlines()]
    assert [record["frame"] for record in records] == list(range(12))
    assert records[3]["media_s"] == pytest.approx(0.3)
    assert sum(records[3]["shares"].values()) == pytest.approx(1, abs=1e-4)
    assert all(record["age_ms"] > 0 for record in records)


def test_run_paints_the_overlay_as_it_is_told(
    edge_here: Edge, video: Path, colour_bundle: Bundle, tmp_path: Path
) -> None:
    tables = {}
    for words in (("--style", "mask", "--classes", "Green"), ("--alpha", "1", "--style", "side-by-side")):
        out = tmp_path / f"{len(tables)}.mp4"
        result = edge_here("run", video, "-e", colour_bundle.folder, "--overlay", out, "--no-legend", *words)
        assert result.returncode == 0, result
        with av.open(str(out)) as file:
            tables[words] = next(file.decode(video=0)).to_ndarray(format="bgr24")
    mask, both = tables.values()
    assert mask.shape == (48, 64, 3)
    assert both.shape == (48, 128, 3)
    painted = (mask[:30] > 40).any(-1)
    assert 0.05 < painted.mean() < 0.95


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--style", "blur"), "style: expected one of tint, outline, mask, side-by-side, got 'blur'"),
        (("--alpha", "1.5"), "alpha: expected a number from 0 (no tint) to 1 (opaque), got 1.5"),
        (("--classes", "dog,red"), "no group or class is called 'dog'; there are the groups "),
        (("--classes", ","), "expected names of groups or classes, such as road,pedestrian"),
    ],
)
def test_an_overlay_that_cannot_look_so_is_one_line_with_the_choices(
    edge_here: Edge, words: tuple[str, str], said: str, video: Path, colour_bundle: Bundle, tmp_path: Path
) -> None:
    result = edge_here("run", video, "-e", colour_bundle.folder, "--overlay", tmp_path / "o.mp4", *words)
    assert said in refused(result, 78)
    assert not list(tmp_path.glob("o.mp4*"))
    without = edge_here("run", video, "-e", colour_bundle.folder, *words)
    assert ("Add --overlay" in refused(without, 78)) is (words[0] == "--classes" and words[1] != ",")


def test_run_takes_pictures_and_a_pattern_of_pictures(
    edge_here: Edge, tmp_path: Path, flag: Image, colour_bundle: Bundle
) -> None:
    for name in ("1.png", "2.png", "3.jpg"):
        cv2.imwrite(str(tmp_path / name), flag)
    assert "3 in, 3 out" in edge_here("run", tmp_path, "-e", colour_bundle.folder).stdout
    assert "2 in, 2 out" in edge_here("run", f"{tmp_path}/*.png", "-e", colour_bundle.folder).stdout


@pytest.mark.slow
def test_run_takes_a_rendered_street_and_stops_at_max_frames(colour_bundle: Bundle, tmp_path: Path) -> None:
    results = tmp_path / "r.jsonl"
    result = edge("run", SCENE, "-e", colour_bundle.folder, "--max-frames", "4", "--results", results)
    assert result.returncode == 0, result.stderr
    assert "4 in, 4 out" in result.stdout
    assert len(results.read_text().splitlines()) == 4


@pytest.mark.slow
def test_a_live_run_takes_the_time_of_the_recording_and_counts_what_it_drops(
    video: Path, colour_bundle: Bundle, tmp_path: Path
) -> None:
    results = tmp_path / "r.jsonl"
    start_s = time.monotonic()
    result = edge("run", video, "--live", "-e", colour_bundle.folder, "--results", results)
    assert result.returncode == 0, result.stderr
    assert time.monotonic() - start_s > 1.1  # twelve frames at 10 Hz
    records = [json.loads(line) for line in results.read_text().splitlines()]
    dropped = int(result.stdout.split(" dropped")[0].split()[-1])
    assert len(records) + dropped >= 12


def test_a_run_that_keeps_nothing_says_how_to_see_the_masks(
    edge_here: Edge, video: Path, colour_bundle: Bundle, tmp_path: Path
) -> None:
    assert "Nothing was written. To see the masks" in edge_here("run", video, "-e", colour_bundle.folder).stdout
    kept = edge_here("run", video, "-e", colour_bundle.folder, "--masks", tmp_path / "masks")
    assert "Nothing was written" not in kept.stdout


@pytest.mark.slow
def test_quiet_says_nothing(video: Path, colour_bundle: Bundle) -> None:
    result = edge("run", video, "-e", colour_bundle.folder, "--quiet")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_closes_its_files_and_says_what_it_did(
    how: signal.Signals, colour_bundle: Bundle, tmp_path: Path
) -> None:
    overlay, results = tmp_path / "o.mp4", tmp_path / "r.jsonl"
    endless = "scene:street?seed=3&frames=0&size=320x180"
    words = ["run", endless, "-e", str(colour_bundle.folder), "--overlay", str(overlay), "--results", str(results)]
    process = subprocess.Popen(
        [sys.executable, "-m", "edge.cli", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    partial = results.with_name(".r.jsonl.part")
    deadline_s = time.monotonic() + 60
    while time.monotonic() < deadline_s and not (overlay.with_name(".o.mp4.part").exists() and partial.exists()):
        time.sleep(0.05)
    time.sleep(1.5)
    process.send_signal(how)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert "Traceback" not in stderr
    assert "0 dropped" in stdout
    with av.open(str(overlay)) as container:
        frames = len(list(container.decode(video=0)))
    assert frames == len(results.read_text().splitlines()) > 0
    assert not partial.exists()


def test_a_missing_file_is_one_clear_line(edge_here: Edge, tmp_path: Path, colour_bundle: Bundle) -> None:
    line = refused(edge_here("run", tmp_path / "no.mp4", "-e", colour_bundle.folder), 69)
    assert "no.mp4: there is no such file" in line


def test_an_empty_file_and_one_that_is_no_video_are_one_clear_line(
    edge_here: Edge, tmp_path: Path, colour_bundle: Bundle
) -> None:
    (tmp_path / "empty.mp4").touch()
    assert "0 bytes" in refused(edge_here("run", tmp_path / "empty.mp4", "-e", colour_bundle.folder), 69)
    (tmp_path / "text.mp4").write_text("no video\n" * 100)
    assert "not a video" in refused(edge_here("run", tmp_path / "text.mp4", "-e", colour_bundle.folder), 69)


def test_a_missing_camera_is_one_clear_line(edge_here: Edge, colour_bundle: Bundle) -> None:
    assert "/dev/video97" in refused(edge_here("run", "97", "-e", colour_bundle.folder), 69)


def test_a_truncated_video_gives_what_it_has_and_says_that_it_is_damaged(
    edge_here: Edge, tmp_path: Path, flag: Image, colour_bundle: Bundle
) -> None:
    whole = tmp_path / "whole.mkv"
    noise = np.random.default_rng(1)
    with av.open(str(whole), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(60):
            picture = np.clip(flag.astype(int) + noise.integers(-40, 40, flag.shape), 0, 255).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
        container.mux(stream.encode(None))
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 6 // 10])
    result = edge_here("run", cut, "-e", colour_bundle.folder, "--results", tmp_path / "r.jsonl")
    assert result.returncode == 69, result
    assert "damaged" in refused(result, 69)
    assert 0 < len((tmp_path / "r.jsonl").read_text().splitlines()) < 60


def test_an_unknown_engine_is_answered_with_the_nearest_name(edge_here: Edge, video: Path) -> None:
    line = refused(edge_here("run", video, "--engine", "raod"), 70)
    assert "'raod'" in line
    assert "road" in line


def test_a_tampered_bundle_is_refused(edge_here: Edge, video: Path, colour_bundle: Bundle) -> None:
    model = colour_bundle.folder / MODEL_FILE
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1
    model.write_bytes(content)
    assert "not the one its card was made for" in refused(edge_here("run", video, "-e", colour_bundle.folder), 70)


def test_an_output_that_cannot_be_written_is_refused_before_the_work(
    edge_here: Edge, video: Path, colour_bundle: Bundle, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    for option, place in (("--overlay", "o.mp4"), ("--masks", "m"), ("--results", "r.jsonl")):
        line = refused(edge_here("run", video, "-e", colour_bundle.folder, option, tmp_path / "file" / place), 73)
        assert "expected a folder, got a file" in line


def test_an_overlay_of_an_unknown_kind_is_refused(
    edge_here: Edge, video: Path, colour_bundle: Bundle, tmp_path: Path
) -> None:
    assert ".mp4" in refused(edge_here("run", video, "-e", colour_bundle.folder, "--overlay", tmp_path / "o.gif"), 73)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_an_output_stream_that_takes_nothing_is_one_clear_line(colour_bundle: Bundle) -> None:
    command = [sys.executable, "-m", "edge.cli", "inspect", str(colour_bundle.folder)]
    with Path("/dev/full").open("w") as full:
        result = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert "standard output: No space left on device" in refused(result, 74)


@pytest.mark.parametrize(
    ("failure", "line"),
    [
        ("numpy.empty(1 << 62, 'u1')", "edge: out of memory (Unable to allocate"),
        ("bytearray(1 << 62)", "edge: out of memory. See what is free, and your limit: free -h; ulimit -v"),
        ("cv2.resize(numpy.empty((9, 9), 'u1'), (1 << 24, 1 << 24))", "edge: out of memory (Failed to allocate"),
        (
            "raise ImportError('lib.so: failed to map segment from shared object')",
            "edge: out of memory (lib.so",
        ),
        ("raise ImportError('lib.so: cannot open shared object file: Too many open files')", "edge: no further file"),
        (
            "resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3)); open('/dev/null')",
            "edge: no further file could be opened",
        ),
        ("limit_threads(); threading.Thread(target=print).start()", "edge: no further thread or process could be"),
    ],
)
def test_memory_threads_or_files_that_run_out_are_one_line(failure: str, line: str) -> None:
    code = (
        "import cv2, numpy, resource, sys, threading; from edge import cli; sys.argv = ['edge', 'doctor']\n"
        "def limit_threads():\n"
        "    resource.setrlimit(resource.RLIMIT_AS, (0, resource.RLIM_INFINITY)); threading.stack_size(1 << 30)\n"
        f"def make_app(words): {failure}\n"
        "cli.make_app = make_app; cli.main()"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert refused(result, 71).startswith(line)


def test_where_not_even_the_first_thread_can_be_started_it_is_one_line() -> None:
    code = (
        "import resource, sys, threading; from edge import cli; sys.argv = ['edge', 'run', 'x.mp4']\n"
        'def start(thread): raise RuntimeError("can\'t start new thread")\n'
        "threading.Thread.start = start\n"
        "cli.make_app = lambda words: threading.Thread(target=print).start(); cli.main()"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert refused(result, 71).startswith("edge: no further thread or process could be started.")


def test_a_wrong_scene_is_a_config_error(edge_here: Edge, colour_bundle: Bundle) -> None:
    assert "sizes" in refused(edge_here("run", "scene:street?sizes=3", "-e", colour_bundle.folder), 78)


def test_a_wrong_option_is_a_usage_error(edge_here: Edge) -> None:
    result = edge_here("run", "x.mp4", "--overlya", "o.mp4")
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    assert "--overlay" in result.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("doctor", "rtsp://me:hunter2@h/live"),
        ("run", "0", "--alpha", "rtsp://me:hunter2@h/live"),
        ("run", "0", "--alpha=me:hunter2@h/live"),
        ("rtsp://me:hunter2@h/live",),
        ("run", "scene:street?frames=1", "-e", "rtsp://me:hunter2@h/live"),
        ("run", "0", "--overlay", "rtsp://me:hunter2@h/live.mp4"),
        ("evaluate", "rtsp://me:hunter2@h/live"),
    ],
)
def test_an_address_in_the_wrong_place_is_shown_without_its_password(words: tuple[str, ...], edge_here: Edge) -> None:
    result = edge_here(*words)
    assert result.returncode not in (0, 1)
    assert "***" in result.stderr
    assert "hunter2" not in result.stderr + result.stdout


def test_evaluate_prints_a_table_and_writes_json(
    edge_here: Edge, tmp_path: Path, flag: Image, flag_classes: Image, colour_bundle: Bundle
) -> None:
    for folder, picture in (("frames", flag), ("labels", flag_classes)):
        (tmp_path / folder).mkdir()
        cv2.imwrite(str(tmp_path / folder / "a.png"), picture)
    target = tmp_path / "score.json"
    words = ("--labels", tmp_path / "labels", "-e", colour_bundle.folder, "--json", target)
    result = edge_here("evaluate", tmp_path / "frames", *words)
    assert result.returncode == 0, result.stderr
    assert "mIoU 1.0000" in result.stdout
    assert json.loads(target.read_text())["miou"] == 1.0


def test_inspect_shows_the_card(edge_here: Edge, colour_bundle: Bundle) -> None:
    result = edge_here("inspect", colour_bundle.folder)
    assert result.returncode == 0, result.stderr
    for fact in ("64x48, letterbox", "0 Blue, 1 Green, 2 Red", "--all"):
        assert fact in result.stdout
    assert max(map(len, result.stdout.replace(str(colour_bundle.folder), "").splitlines())) <= 80
    for fact in ("64x48, letterbox", "0 Blue, 1 Green, 2 Red", "7 steps", "2025-12-31"):
        assert fact in edge_here("inspect", colour_bundle.folder, "--all").stdout


@pytest.mark.slow
def test_bench_measures_engine_masks_and_overlay(video: Path, colour_bundle: Bundle, tmp_path: Path) -> None:
    target = tmp_path / "bench.json"
    words = ["--precision", "f32", "--frames", "20", "--source", str(video), "--json", str(target)]
    result = edge("bench", "-e", colour_bundle.folder, *words)
    assert result.returncode == 0, result.stderr
    assert "bare engine" in result.stdout
    figures = json.loads(target.read_text())
    assert set(figures["overlay"]["stages"]) == {"decode", "resize", "infer", "overlay", "encode", "write"}
    assert figures["masks"]["frames"] == 12
    for part in ("masks", "overlay"):
        assert 0 < figures[part]["of_bound"] <= 1.05
        assert figures[part]["age"]["p50_ms"] <= figures[part]["age"]["p99_ms"]


@pytest.mark.slow
def test_the_progress_bar_shows_on_a_terminal_however_long_the_path(
    video: Path, colour_bundle: Bundle, tmp_path: Path
) -> None:
    import pty

    video = video.rename(tmp_path / f"{'a-long-name-' * 12}.mp4")

    leader, follower = pty.openpty()
    command = [sys.executable, "-m", "edge.cli", "run", str(video), "-e", str(colour_bundle.folder)]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=follower, env=environment)
    os.close(follower)
    shown = b""
    while True:
        try:
            chunk = os.read(leader, 4096)
        except OSError:  # the terminal is gone with the process
            break
        if not chunk:
            break
        shown += chunk
    os.close(leader)
    assert process.wait(60) == 0
    assert b"12/12" in shown


# ------------------------------------------------------------------------------------------------------------- help


def test_help_is_in_groups_with_run_first_and_the_version_is_said(edge_here: Edge) -> None:
    shown = edge_here("--help").stdout
    places = [shown.index(f" {name} ─") for name in ("Run", "Serve", "Look and measure", "Make engines")]
    assert places == sorted(places)
    assert shown.index("│ run ") < shown.index("│ record ")
    options = edge_here("run", "--help").stdout
    assert all(
        f" {name} ─" in options for name in ("Outputs", "Look of the overlay", "More about each frame", "Engine")
    )
    assert edge_here("--version").stdout.startswith("edge 0.")


def test_help_is_a_command_too(edge_here: Edge) -> None:
    for typed, known in ((["help"], ["--help"]), (["help", "run"], ["run", "--help"])):
        assert edge_here(*typed).stdout == edge_here(*known).stdout != ""


def test_a_missing_argument_is_answered_with_an_example(edge_here: Edge) -> None:
    result = edge_here("run")
    assert result.returncode == 2
    assert result.stderr.endswith("Missing argument 'SOURCE'.\nExample: edge run drive.mp4 --overlay out.mp4\n")


def test_standard_input_as_a_source_is_named_as_a_file(edge_here: Edge) -> None:
    assert "standard input is named /dev/stdin here" in refused(edge_here("run", "-"), 69)


def test_each_command_shows_an_example() -> None:
    commands = [
        *(command.name or command.callback.__name__ for command in make_app().registered_commands if command.callback)
    ]
    assert len(commands) == len(set(commands)) > 8
    assert all((command.epilog or "").startswith("Example: edge ") for command in make_app().registered_commands)


@pytest.mark.parametrize(("typed", "known"), [("fp32", "f32"), ("F16", "fp16"), ("int8", "int8"), ("int4", "int4")])
def test_a_precision_is_taken_by_the_names_that_people_know(typed: str, known: str) -> None:
    assert precision_of(typed) == known
    assert engine_and_precision(f"a:b:{typed}") == (("a:b", known) if known != "int4" else (f"a:b:{typed}", None))


def test_names_are_completed() -> None:
    assert complete_precision("f") == ["f32", "fp16"]
    assert "road" in complete_engine("ro")
    assert complete_backend("o") == ["openvino", "onnxruntime"]
    assert complete_engine_and_precision("road:f") == ["road:f32", "road:fp16"]
    assert "road" in complete_engine_and_precision("ro")
    assert set(complete_backend("")) == set(BACKENDS)


def test_a_recording_is_not_made_of_a_video_file_name(
    edge_here: Edge, video: Path, colour_bundle: Bundle, tmp_path: Path
) -> None:
    line = refused(edge_here("record", video, tmp_path / "moto.mp4", "-e", colour_bundle.folder), 78)
    assert "a drive is a file that ends with .mcap, or a folder" in line


def test_figures_are_written_as_json(edge_here: Edge, video: Path, colour_bundle: Bundle) -> None:
    run = json.loads(edge_here("run", video, "-e", colour_bundle.folder, "--json", "-").stdout)
    assert (run["frames_in"], run["dropped"], run["failure"]) == (12, 0, None)
    assert run["age_ms"]["p50"] > 0
    card = json.loads(edge_here("inspect", colour_bundle.folder, "--json", "-").stdout)
    assert card["name"] == colour_bundle.card.name


def test_every_command_that_prints_figures_writes_them_as_json() -> None:
    without: set[str] = set()
    groups = [("", typer.main.get_command(make_app()))]
    for path, command in groups:
        if parts := getattr(command, "commands", {}):
            groups += [(f"{path} {name}".strip(), part) for name, part in parts.items()]
        elif not any("--json" in param.opts for param in command.params):
            without.add(path)
    assert without == {"serve", "publish", "swap", "init", "keygen", "sign", "verify"}


@pytest.mark.slow
def test_a_recording_and_what_the_doctor_found_are_written_as_json(
    edge_here: Edge, video: Path, colour_bundle: Bundle, tmp_path: Path
) -> None:
    drive = tmp_path / "d.mcap"
    recorded = json.loads(edge_here("record", video, drive, "-e", colour_bundle.folder, "--json", "-").stdout)
    assert (recorded["frames_in"], recorded["frames_lost"], recorded["path"]) == (12, 0, str(drive))
    findings = json.loads(edge_here("doctor", "--json", "-").stdout)["findings"]
    assert {"engine road", "engine small", "engine open"} <= {finding["about"] for finding in findings}
