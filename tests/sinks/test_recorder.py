from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from stand_in import ROAD, SKY, result_of
from videos import decoded_bgr, noise, open_files, picture, write_video

from edge.classes import CAMVID
from edge.errors import ConfigError, OutputError
from edge.prediction import Prediction
from edge.sinks import recorder as recorder_module
from edge.sinks import size_changes
from edge.sinks.recorder import Recorder, RecorderOptions
from edge.sources.recording import Recording
from edge.timing import Stages

SKY_ONLY = np.full((12, 16), SKY, np.uint8)
HALF_ROAD = SKY_ONLY.copy()
HALF_ROAD[:, 8:] = ROAD
WH = (128, 96)
RATE_HZ = 30
KILLS = int(os.environ.get("EDGE_KILLS", "5"))  # more for a measurement


def result(index: int, size_wh: tuple[int, int] = WH) -> Prediction:
    """At 30 Hz; of noise, so that it has a size that counts."""
    return result_of(index, HALF_ROAD, image=noise(index, size_wh), captured_ns=10**9 + index * 10**9 // RATE_HZ)


def recorder(folder: Path, **options: Any) -> Recorder:
    return Recorder(RecorderOptions(str(folder), **options), RATE_HZ, Stages())


def record(folder: Path, count: int, first: int = 0, **options: Any) -> Recorder:
    with recorder(folder, **options) as sink:
        for index in range(first, first + count):
            sink.write(result(index), 0)
            assert sink.health.state == "ok", sink.health
    return sink


def segments(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.mp4"), key=lambda path: path.stem.split("-")[-1])


def frames_until_damage(path: Path) -> int:
    frames = 0
    with av.open(str(path)) as file, suppress(av.error.InvalidDataError):
        for frame in file.decode(video=0):
            frames += not frame.is_corrupt
    return frames


def frames_in(path: Path) -> int:
    """How many play; whatever is damaged raises."""
    with av.open(str(path), options={"err_detect": "explode"}) as file:
        return sum(1 for _ in file.decode(video=0))


# ------------------------------------------------------------------------------------------------------------ segments


def test_a_recording_is_cut_into_segments_by_time_and_loses_no_frame(tmp_path: Path) -> None:
    sink = record(tmp_path / "drives", 40, segment_s=0.5)
    files = segments(tmp_path / "drives")
    assert [frames_in(path) for path in files] == [15, 15, 10]
    assert all(re.fullmatch(r"edge-2\d{7}T\d{6}Z-00000[123]\.mp4", path.name) for path in files)
    assert (sink.health.totals["frames"], sink.health.levels["segments"], sink.health.totals["segments_deleted"]) == (
        40,
        3,
        0,
    )
    assert sink.health.levels["size_bytes"] == sum(path.stat().st_size for path in files)
    assert sorted(path.name for path in (tmp_path / "drives").iterdir()) == [path.name for path in files]
    assert open_files(tmp_path) == []


def test_our_own_source_finds_nothing_wrong_with_a_segment(tmp_path: Path) -> None:
    record(tmp_path, 20)
    with Recording(str(segments(tmp_path)[0])) as recording:
        assert [frame.index for frame in recording] == list(range(20))


def test_the_picture_is_plain_or_tinted_as_is_wanted(tmp_path: Path) -> None:
    grey = np.full((WH[1], WH[0], 3), 150, np.uint8)
    shown = {}
    for overlay in (False, True):
        with recorder(tmp_path / str(overlay), overlay=overlay) as sink:
            sink.write(result_of(0, HALF_ROAD, image=grey), 0)
        (shown[overlay],) = decoded_bgr(segments(tmp_path / str(overlay))[0])
    assert np.abs(shown[False].astype(int) - 150).max() <= 3
    assert np.abs(shown[True][:60, :60].astype(int) - 150).max() <= 3
    assert np.abs(shown[True][:60, 70:].astype(int) - 150).max(-1).min() > 20


def test_the_overlay_looks_as_the_options_say(tmp_path: Path) -> None:
    with recorder(tmp_path, style="mask", classes=("road",), legend=False) as sink:
        sink.write(result_of(0, HALF_ROAD, image=np.full((WH[1], WH[0], 3), 150, np.uint8)), 0)
    (shown,) = decoded_bgr(segments(tmp_path)[0])
    assert shown[:60, :60].max() < 20
    assert np.abs(shown[:60, 70:].astype(int) - CAMVID.tints["road"][::-1]).max() < 20


def test_a_camera_that_changes_its_size_begins_a_new_segment(tmp_path: Path) -> None:
    with recorder(tmp_path) as sink:
        for index in range(12):
            sink.write(result(index, WH if index % 8 < 4 else (64, 48)), 0)
    assert [frames_in(path) for path in segments(tmp_path)] == [4, 4, 4]


def test_a_camera_that_alternates_its_size_does_not_write_a_file_for_each_frame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(size_changes, "SIZE_CHANGES", 3)
    with recorder(tmp_path) as sink:
        for index in range(60):
            sink.write(result(index, WH if index % 2 else (64, 48)), 0)
        assert sink.health.levels["segments"] == 1 + 3
        assert sink.health.totals["frames"] + sink.health.totals["frames_lost"] == 60
        assert str(sink.health) == (
            "ok (the camera alternates between 64x48 and 128x96: one of them is recorded, a new file each 10 s)"
        )
    assert sum(map(frames_in, segments(tmp_path))) == sink.health.totals["frames"] >= 30
    assert caplog.text.count("the camera alternates") == 1


def test_a_camera_that_stays_with_its_new_size_is_recorded_in_it_soon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(size_changes, "SIZE_CHANGES", 1)
    monkeypatch.setattr(size_changes, "SIZE_CHANGE_S", 0.1)
    with recorder(tmp_path) as sink:
        for index in range(10):
            sink.write(result(index, WH if index % 2 else (64, 48)), 0)
        until_s = time.monotonic() + 10
        while sink.health.reason or sink.health.totals["frames"] < 10:
            assert time.monotonic() < until_s, sink.health
            sink.write(result(index := index + 1, (320, 240)), 0)
            time.sleep(0.01)
        assert "camera" not in str(sink.health)


def test_of_a_recording_that_alternates_its_size_no_frame_is_left_out(tmp_path: Path) -> None:
    with recorder(tmp_path) as sink:
        for index in range(30):
            image = noise(index, WH if index % 2 else (64, 48))
            sink.write(result_of(index, HALF_ROAD, image=image, media_ns=index * 10**9 // RATE_HZ), 0)
    assert (sink.health.totals["frames"], sink.health.totals["frames_lost"]) == (30, 0)


def test_a_later_run_goes_on_counting_and_removes_what_never_held_a_frame(tmp_path: Path) -> None:
    record(tmp_path, 3)
    (tmp_path / ".edge-20260101T000000Z-000009.mp4.part").touch()
    sink = record(tmp_path, 3)
    assert [path.stem[-6:] for path in segments(tmp_path)] == ["000001", "000002"]
    assert sink.health.levels["segments"] == 2
    assert not list(tmp_path.glob(".*"))


def test_what_somebody_made_of_a_segment_is_left_as_it_is(tmp_path: Path) -> None:
    for number, content in enumerate((b"\0\0\0\1mdat" + bytes(40), b"\0\0\0\0free" + bytes(9), b"", b"\0\0\0\x0cmoov")):
        own = tmp_path / f"{number}" / "edge-20260101T000000Z-000001.mp4"
        own.parent.mkdir()
        own.write_bytes(content)
        record(own.parent, 0)
        assert own.read_bytes() == (content if number < 3 else b"")
    plain = write_video(tmp_path / "edge-20260101T000000Z-000001.mp4", 5)
    before = plain.read_bytes()
    record(tmp_path, 1)
    assert plain.read_bytes() == before


def test_without_a_frame_there_is_no_file(tmp_path: Path) -> None:
    assert str(record(tmp_path, 0).health) == "stopped"
    assert list(tmp_path.iterdir()) == []


def test_recordings_are_for_their_user_alone(tmp_path: Path) -> None:
    record(tmp_path / "a" / "drives", 2)
    assert (tmp_path / "a" / "drives").stat().st_mode & 0o777 == 0o700
    assert segments(tmp_path / "a" / "drives")[0].stat().st_mode & 0o777 == 0o600


def test_two_recorders_do_not_share_a_folder(tmp_path: Path) -> None:
    with recorder(tmp_path) as sink:
        sink.write(result(0), 0)
        with pytest.raises(OutputError, match="another recorder writes here"), recorder(tmp_path):
            pass
        sink.write(result(1), 0)
    assert frames_in(segments(tmp_path)[0]) == 2
    record(tmp_path, 2)


# --------------------------------------------------------------------------------------------------------------- quota


def test_the_oldest_segments_make_room_and_nothing_else_does(tmp_path: Path) -> None:
    others = ["edge.mp4", "drive.mp4", "edge-20200101T000000Z-000001.mkv", "edge-20200101T000000Z-1.mp4", "notes.txt"]
    for name in others:
        (tmp_path / name).write_bytes(bytes(50_000))
    record(tmp_path, 15, segment_s=0.5)
    # A clock that was wrong: by its name this one is the newest.
    first = segments(tmp_path)
    oldest = next(path for path in first if path.stem.endswith("-000001"))
    oldest.rename(tmp_path / "edge-20990101T000000Z-000001.mp4")
    quota_gb = 4.5 * oldest.with_name("edge-20990101T000000Z-000001.mp4").stat().st_size / 1e9
    sink = record(tmp_path, 90, segment_s=0.5, quota_gb=quota_gb)
    kept = [path for path in segments(tmp_path) if path.name not in others]
    assert not (tmp_path / "edge-20990101T000000Z-000001.mp4").exists()
    numbers = [int(path.stem[-6:]) for path in kept]
    assert numbers == list(range(numbers[0], numbers[-1] + 1))
    assert sum(path.stat().st_size for path in kept) <= quota_gb * 1e9 * 1.25  # the last was closed after the last look
    assert len(kept) >= 3
    assert sink.health.totals["segments_deleted"] >= 2
    assert sink.health.levels["segments"] == len(kept)
    assert all((tmp_path / name).stat().st_size == 50_000 for name in others)


def test_a_small_quota_still_holds_several_segments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder_module, "SYNC_S", 0.0)
    sink = record(tmp_path, 60, quota_gb=200_000 / 1e9)
    assert sink.health.totals["segments_deleted"] > 0
    assert len(segments(tmp_path)) >= 3
    assert sum(path.stat().st_size for path in segments(tmp_path)) <= 220_000


# ------------------------------------------------------------------------------------------------- kills and power cuts

CHILD = """
import sys
sys.path[:0] = sys.argv[2:]
from pathlib import Path
from test_recorder import recorder, result
results = [result(index) for index in range(30)]
with recorder(Path(sys.argv[1]), segment_s=0.7) as sink:
    for index in range(10**9):
        sink.write(result(index) if index >= 30 else results[index], 0)
        print(index + 1, flush=True)
"""


def child_recording(code: str, folder: Path) -> subprocess.Popen[str]:
    """A process that records, and prints how many frames it has written."""
    paths = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
    return subprocess.Popen([sys.executable, "-c", code, str(folder), *paths], stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_a_kill_costs_at_most_a_third_of_a_second(tmp_path: Path) -> None:
    """At frames of 30 Hz, nine; seen are one or two."""
    rng = random.Random(7)
    before, lost = 0, []
    for _ in range(KILLS):
        with child_recording(CHILD, tmp_path) as child:
            assert child.stdout is not None
            lines = [child.stdout.readline() for _ in range(rng.randint(2, 90))]
            child.kill()
            lines += child.stdout.readlines()
        written = max(int(line) for line in lines if line.endswith("\n"))
        readable = sum(frames_until_damage(path) for path in segments(tmp_path))
        lost.append(written - (readable - before))
        record(tmp_path, 0)  # a new start cuts off what was written half
        assert all(frames_in(path) > 0 for path in segments(tmp_path))
        before = sum(frames_in(path) for path in segments(tmp_path))
        assert before == readable
    assert max(lost) <= 0.3 * RATE_HZ


PACED_CHILD = CHILD.replace("import sys\n", "import sys, time\n", 1).replace(
    "        print(", f"        time.sleep(1 / {RATE_HZ})\n        print("
)


@pytest.fixture
def plug(tmp_path: Path) -> Iterator[Callable[[Path], Path]]:
    """Mounts the image of a disk: `plug(image)` is its folder."""
    mounted: list[Path] = []

    def mount(image: Path) -> Path:
        folder = tmp_path / f"plugged-{len(mounted)}"
        folder.mkdir()
        try:
            subprocess.run(["mount", "-o", "loop", image, folder], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"the image of a disk cannot be mounted here: {getattr(error, 'stderr', error)}")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", folder], check=True)


@pytest.mark.slow
@pytest.mark.parametrize("frames", [12, 50])
def test_a_power_cut_costs_less_than_a_second(frames: int, tmp_path: Path, plug: Callable[[Path], Path]) -> None:
    """The image is copied beneath the file system: what is not in the copy was in memory only."""
    image, cut = tmp_path / "disk", tmp_path / "cut"
    with image.open("wb") as file:
        file.truncate(16 << 20)
    if shutil.which("mkfs.ext4", path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is None:
        pytest.skip("mkfs.ext4 is not installed; see: apt-get install e2fsprogs")
    subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True, env={"PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"})
    folder = plug(image) / "drives"
    with child_recording(PACED_CHILD, folder) as child:
        assert child.stdout is not None
        lines = [child.stdout.readline() for _ in range(frames)]
        child.send_signal(signal.SIGSTOP)
        shutil.copyfile(image, cut)
        child.kill()
        lines += child.stdout.readlines()
    written = max(int(line) for line in lines if line.endswith("\n"))
    after = plug(cut) / "drives"
    record(after, 0)
    assert written - sum(frames_in(path) for path in segments(after)) <= RATE_HZ
    assert all(frames_in(path) > 0 for path in segments(after))


@pytest.mark.slow
def test_what_was_synced_plays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A power cut leaves what the disk was told to keep: that is copied at each sync."""
    folder, kept = tmp_path / "drives", tmp_path / "kept"
    kept.mkdir()
    synced: list[tuple[int, Path]] = []
    written = 0

    def copying(fd: int) -> None:
        copy = kept / f"{len(synced)}.mp4"
        shutil.copyfile(f"/proc/self/fd/{fd}", copy)
        synced.append((written, copy))

    monkeypatch.setattr(recorder_module, "SYNC_S", 0.02)
    monkeypatch.setattr(os, "fdatasync", copying)
    with recorder(folder) as sink:
        for written in range(60):
            sink.write(result(written), 0)
            time.sleep(0.002)
    assert len(synced) >= 4
    assert all(frames_in(copy) >= count for count, copy in synced)


def test_it_syncs_each_half_second() -> None:
    assert recorder_module.SYNC_S <= 0.5


# -------------------------------------------------------------------------------------------------------- the disk


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks at the disk at every frame, and tries again at every frame."""
    monkeypatch.setattr(recorder_module, "SYNC_S", 0.0)
    monkeypatch.setattr(recorder_module, "RETRY_S", 0.0)


def fill(path: Path, leave_bytes: int = 0) -> None:
    """Until the disk has no more than that."""
    disk = os.statvfs(path.parent)
    with suppress(OSError), path.open("ab") as file:
        file.write(bytes(max(0, disk.f_bavail * disk.f_frsize - leave_bytes)))


def test_a_disk_that_others_fill_costs_old_segments_then_the_recording_until_there_is_room(
    small_disk: Callable[[int], Path], at_once: None
) -> None:
    disk = small_disk(2000)  # of which 102 KB are left to others
    folder, filler = disk / "drives", disk / "filler"
    with recorder(folder, segment_s=0.5) as sink:
        for index in range(45):
            sink.write(result(index), 0)
        assert sink.health.totals["segments_deleted"] == 0
        fill(filler, 50_000)
        for index in range(45, 60):
            sink.write(result(index), 0)
        assert (sink.health.state, sink.health.totals["frames_lost"]) == ("ok", 0)
        assert sink.health.totals["segments_deleted"] >= 1
        for index in range(60, 90):
            fill(filler, 50_000)
            sink.write(result(index), 0)
        assert sink.health.state == "lost"
        assert re.search(rf"{folder}: the disk is full: \d+ MB are free.*see: df -h", sink.health.reason)
        lost, since_ns = sink.health.totals["frames_lost"], sink.health.since_ns
        assert lost > 0
        sink.write(result(90), 0)
        assert sink.health.since_ns == since_ns
        filler.unlink()
        for index in range(91, 110):
            sink.write(result(index), 0)
        assert sink.health.state == "ok"
        assert sink.health.totals["frames_lost"] == lost + 1
    assert sum(frames_in(path) for path in segments(folder)) >= 19
    assert all(frames_in(path) > 0 for path in segments(folder))


@pytest.mark.parametrize("size_kib", [40, 100, 333, 420])
def test_a_disk_that_is_full_in_the_midst_of_a_frame_leaves_whole_segments(
    size_kib: int, small_disk: Callable[[int], Path], at_once: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder_module, "RESERVE", (0.0, 0))  # so that it is not noticed before
    disk = small_disk(size_kib)
    with recorder(disk / "drives", segment_s=0.5) as sink:
        for index in range(60):
            sink.write(result(index), 0)
    assert all(frames_in(path) > 0 for path in segments(disk / "drives"))
    assert sink.health.totals["frames_lost"] > 0
    assert sink.health.totals["frames"] + sink.health.totals["frames_lost"] == 60
    assert sink.health.totals["segments_deleted"] > 0
    assert open_files(disk) == []


def test_a_full_disk_at_the_start_is_no_reason_not_to_begin(small_disk: Callable[[int], Path], at_once: None) -> None:
    disk = small_disk(500)
    (disk / "drives").mkdir()
    with pytest.raises(OSError, match="No space"):
        (disk / "filler").write_bytes(bytes(1 << 20))
    with recorder(disk / "drives") as sink:
        sink.write(result(0), 0)
        assert sink.health.state == "lost"
        (disk / "filler").unlink()
        sink.write(result(1), 0)
        sink.write(result(2), 0)
        assert sink.health.state == "ok"
    assert frames_in(segments(disk / "drives")[0]) == 2


def test_a_disk_that_goes_and_comes_back_is_found_again(tmp_path: Path, at_once: None) -> None:
    folder = tmp_path / "drives"
    with recorder(folder) as sink:
        for index in range(5):
            sink.write(result(index), 0)
        folder.rename(tmp_path / "gone")
        for index in range(5, 10):
            sink.write(result(index), 0)
        assert sink.health.state == "lost"
        assert "No such file or directory" in sink.health.reason
        (tmp_path / "gone").rename(folder)
        for index in range(10, 15):
            sink.write(result(index), 0)
        assert sink.health.state == "ok"
    assert sum(frames_in(path) for path in segments(folder)) >= 10


def test_a_recording_that_loops_fills_segments_of_their_length(tmp_path: Path) -> None:
    with recorder(tmp_path, segment_s=1.0) as sink:
        for index in range(40):  # rounds of half a second, at ten frames a second
            media_ns = index % 5 * 100_000_000
            sink.write(result_of(index, HALF_ROAD, image=noise(index, WH), media_ns=media_ns), 0)
    assert [frames_in(path) for path in segments(tmp_path)] == [10, 10, 10, 10]


def test_a_folder_that_was_deleted_is_made_again_and_locked(tmp_path: Path, at_once: None) -> None:
    folder = tmp_path / "data" / "drives"
    with recorder(folder) as sink:
        for index in range(5):
            sink.write(result(index), 0)
        shutil.rmtree(folder.parent)
        for index in range(5, 10):
            sink.write(result(index), 0)
        assert sink.health.state == "ok"
        with pytest.raises(OutputError, match="another recorder"):
            recorder(folder).__enter__()
    assert sum(frames_in(path) for path in segments(folder)) >= 3


def test_a_picture_that_no_video_can_be_of_is_told_and_costs_no_other(tmp_path: Path, at_once: None) -> None:
    with recorder(tmp_path) as sink:
        sink.write(result(0), 0)
        sink.write(result_of(1, SKY_ONLY, image=np.zeros((1, 1, 3), np.uint8)), 0)
        assert str(sink.health) == "lost (frame 1 is 1x1, a video needs 2x2 pixels)"
        sink.write(result(2), 0)
        sink.write(result(3), 0)
        assert sink.health.state == "ok"
    assert [frames_in(path) for path in segments(tmp_path)] == [1, 2]


# --------------------------------------------------------------------------------------------------------- the options


def test_options_that_cannot_be_are_refused(tmp_path: Path, as_nobody: Callable) -> None:
    for wrong in ({"quota_gb": 0.0}, {"segment_s": -1.0}):
        with pytest.raises(ConfigError, match="expected more than 0"):
            recorder(tmp_path, **wrong)
    with pytest.raises(ConfigError, match=r"recorder\.alpha: expected a number from 0"):
        recorder(tmp_path, alpha=2.0)
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="expected a folder, got a file"):
        recorder(tmp_path / "file")
    (tmp_path / "locked").mkdir(mode=0o755)
    with as_nobody(), pytest.raises(OutputError, match="may not be written by this user"):
        recorder(tmp_path / "locked" / "drives")


def test_drawing_encoding_and_writing_are_timed(tmp_path: Path) -> None:
    stages = Stages()
    with Recorder(RecorderOptions(str(tmp_path)), None, stages) as sink:
        for index in range(3):
            sink.write(result_of(index, HALF_ROAD, image=picture(index, WH)), 0)
    assert {name: stages[name].count for name in ("overlay", "encode")} == {"overlay": 3, "encode": 3}
    assert stages["write"].count >= 3
