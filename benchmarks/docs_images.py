"""The images of the tutorials and how-tos, docs/images/: made by running what the pages say, each by its file's name.

    python -m benchmarks.docs_images [first-drive.webp sheet.webp …] [--to docs/images]

Without names all are made. Frames are rendered (seeded) or the motorway of Udacity's CarND (MIT) under
$EDGE_DATA/drives: no other data may be passed on. Pages are shot light and dark by Chromium (benchmarks/chromium.py).
The live page shows the age of this machine's masks, so let nothing else run for page-*.webp. loss.png,
build-worst.webp, augmentation.webp and adapt-*.svg take PyTorch.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from benchmarks.chromium import screenshots, served, serving
from benchmarks.dashboard_image import write_panels
from benchmarks.readme_images import MOTORWAY_FRAME, painted, write_webp
from benchmarks.terminal_image import asked, run_in_shell, shown, write_terminal
from edge.engine import find_bundle
from edge.frame import Image
from edge.sources.open import open_source

STREET = "scene:street?seed=7&frames={frames}&size=640x360&fps=30"
EVERY, SOURCE_HZ = 3, 30  # of the clip: ten images a second
CLIP_WH = 560, 315
CLIP_QUALITY, PHOTO_QUALITY, PAGE_QUALITY = 50, 80, 82
LIVE_WH, LIVE_S = (1400, 900), 70  # the charts of the page are of a minute
REPORT_WH = (1160, 900)
PLAYER_WH, PLAYER_S = (1400, 860), 20
PICKED_WH = 480, 270
WORST_ROWS = 10  # of a build's image of frames


def edge(folder: Path, *words: str) -> None:
    """Run `edge`, as the page has it, in a folder of its own."""
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    subprocess.run([sys.executable, "-m", "edge.cli", *words], cwd=folder, env=environment, check=True)


def resized(image: Image, size_wh: tuple[int, int]) -> Image:
    """uint8 (H, W, 3) BGR, smaller."""
    return np.asarray(cv2.resize(image, size_wh, interpolation=cv2.INTER_AREA), np.uint8)


def write(path: Path, image: Image, quality: int) -> None:
    """An image as WebP."""
    cv2.imwrite(str(path), image, (cv2.IMWRITE_WEBP_QUALITY, quality))


def first_drive(_: Path, to: Path) -> None:
    """The painted street of the first tutorial, moving."""
    frames = (resized(image, CLIP_WH) for image in painted(STREET.format(frames=90), 0, 89, EVERY))
    write_webp(to / "first-drive.webp", frames, EVERY * 1000 // SOURCE_HZ, CLIP_QUALITY)


def motorway(_: Path, to: Path) -> None:
    """A frame of a real camera, and beside it the same with its masks."""
    drive = Path(os.environ["EDGE_DATA"]) / "drives/motorway-720p.mp4"
    (image,) = painted(drive, MOTORWAY_FRAME, MOTORWAY_FRAME, style="side-by-side")
    write(to / "side-by-side.webp", resized(image, (1280, 360)), PHOTO_QUALITY)


def augmented(_: Path, to: Path) -> None:
    """A motorway as other light and other cameras would show it to a net that learns."""
    from edge.train import augment, lens

    image, street = (
        _frame_of(f"{os.environ['EDGE_DATA']}/drives/motorway-720p.mp4", MOTORWAY_FRAME),
        _frame_of(STREET.format(frames=1), 0),
    )
    ways: dict[str, Callable[[Image, np.random.Generator], Image]] = {
        "as it is": lambda image, _: image,
        "night": augment.darken,
        "motion_blur": augment.blur_along,
        "low_resolution": augment.lower_resolution,
        "jpeg": augment.recompress,
        "h264": lens.through_h264,
        "exposure": lens.expose,
        "glare": lens.add_glare,
        "drops": lens.add_drops,
        "style": lambda image, rng: lens.borrow_style(image, street, rng),
    }
    cells = [_named(name, way(image.copy(), np.random.default_rng(11))) for name, way in ways.items()]
    rows = [np.hstack(cells[start : start + 2]) for start in range(0, len(cells), 2)]
    write(to / "augmentation.webp", np.vstack(rows), PHOTO_QUALITY)


def _frame_of(name: str, index: int) -> Image:
    with open_source(name) as source:
        return resized(next(frame.image for frame in source if frame.index == index), PICKED_WH)


def _named(name: str, image: Image) -> Image:
    cv2.rectangle(image, (0, 0), (12 + 9 * len(name), 24), (30, 30, 30), -1)
    return cv2.putText(image, name, (6, 17), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (240, 240, 240), 1, cv2.LINE_AA)


def sheet(room: Path, to: Path) -> None:
    """The frames that the calibration set of the how-to holds."""
    edge(room, "record", "scene:street?seed=5&frames=60&size=320x180&fps=2", "drive.mcap", "--no-masks", "--quiet")
    edge(room, "calibrate", "select", "city", "drive.mcap", "--count", "12", "--sheet", "sheet.png")
    write(to / "sheet.webp", np.asarray(cv2.imread(str(room / "sheet.png")), np.uint8), PHOTO_QUALITY)


def own_net(room: Path, to: Path) -> None:
    """The tutorial's training, and the frames that lose most in INT8."""
    run_in_shell(commands_of("tutorials/own-net"), room)
    (to / "loss.png").write_bytes((room / "mine.run/curves.png").read_bytes())
    frames = np.asarray(cv2.imread(str(room / "my-engine.report/worst-int8.openvino.png")), np.uint8)
    wide, row_px = 1280, frames.shape[0] // WORST_ROWS
    write(
        to / "build-worst.webp",
        resized(frames[: 3 * row_px], (wide, 3 * row_px * wide // frames.shape[1])),
        PAGE_QUALITY,
    )


def report(room: Path, to: Path) -> None:
    """The report of two engines side by side, light and dark."""
    street = "scene:street?seed=7&frames=30&size=320x180&fps=10"
    edge(room, "evaluate", street, "--engine", "road", "--against", "small", "--html", "compare.html")
    _themed((room / "compare.html").as_uri(), to / "compare", REPORT_WH, 1)


def player(room: Path, to: Path) -> None:
    """`edge replay --diff --web`, which is dark in either theme."""
    run_in_shell(commands_of("how-to/compare-engines"), room)
    with serving(["replay", "drive.mcap", "--diff", "small", "--web", "--port", "0"], str(room)) as url:
        (image,) = screenshots(url, PLAYER_WH, PLAYER_S)
    write(to / "replay-diff.webp", image, PAGE_QUALITY)


def picked(room: Path, to: Path) -> None:
    """The four frames most worth a label, above the masks to correct."""
    run_in_shell(commands_of("how-to/label-what-matters"), room)
    folder, palette = room / "to-label", find_bundle("road").card.table.palette_rgb
    rows: list[list[Image]] = [[], []]
    for line in (folder / "picked.csv").read_text().splitlines()[1:5]:
        name = line.partition(",")[0]
        image = cv2.imread(str(folder / "frames" / name))
        ids = cv2.imread(str(folder / "labels" / name), cv2.IMREAD_UNCHANGED)
        for row, part in zip(rows, (image, palette[:, ::-1][np.asarray(ids)]), strict=True):
            row.append(np.asarray(cv2.resize(np.asarray(part, np.uint8), PICKED_WH, interpolation=cv2.INTER_NEAREST)))
    write(to / "picked.webp", np.vstack([np.hstack(row) for row in rows]), PHOTO_QUALITY)


def outlined(room: Path, to: Path) -> None:
    """A frame of a drive with the outlines that the file has for it, as a reader of MCAP without edge finds both."""
    run_in_shell(commands_of("how-to/foxglove"), room)
    frames, lines = _messages(room / "drive.mcap")
    packets = [av.Packet(frame.data) for frame in frames]
    decoder = av.CodecContext.create("h264", "r")
    images = [frame.to_ndarray(format="bgr24") for packet in [*packets, None] for frame in decoder.decode(packet)]
    image = np.ascontiguousarray(images[-1])
    for line in lines[-1].points:
        points = np.array([[(point.x, point.y)] for point in line.points]).round().astype(np.int32)
        colour = [round(255 * part) for part in (line.outline_color.b, line.outline_color.g, line.outline_color.r)]
        cv2.polylines(image, [points], True, colour, round(line.thickness), cv2.LINE_AA)
    write(to / "outlines.webp", image, PHOTO_QUALITY)


def _messages(drive: Path) -> tuple[list[Any], list[Any]]:
    """The frames and the outlines of a drive, in their order."""
    from mcap.reader import make_reader

    from edge.drive.schema import message_class

    kinds = {"/camera/image": "foxglove.CompressedVideo", "/masks/outlines": "foxglove.ImageAnnotations"}
    found: dict[str, list[Any]] = {topic: [] for topic in kinds}
    with drive.open("rb") as file:
        for _, channel, message in make_reader(file).iter_messages(topics=list(kinds)):
            found[channel.topic].append(message_class(kinds[channel.topic]).FromString(message.data))
    return found["/camera/image"], found["/masks/outlines"]


def gate(room: Path, to: Path) -> None:
    """A night on which the engine got worse: `small` in place of `road`."""
    measured, _, _ = commands_of("how-to/nightly-regression").partition(
        "edge evaluate drives.yaml --engine road --base"
    )
    run_in_shell(measured, room)
    night = "edge evaluate drives.yaml --engine small --baseline baseline.json"
    write_terminal(shown([f"{night} \\\n    --max-drop miou:0.5,road:0.3 | tail -n 3"], room), to / "gate")


def sink(room: Path, to: Path) -> None:
    """What the sink of the page writes."""
    script = commands_of("how-to/add-a-sink")
    run_in_shell(script, room)
    run = next(line for line in script.splitlines() if line.startswith("edge run"))
    write_terminal(shown([run, "head -n 3 shares.csv"], room), to / "sink")


def backend(room: Path, to: Path) -> None:
    """The backend of the page beside OpenVINO, on one image."""
    script, command, _ = commands_of("how-to/add-a-backend").rpartition("python try.py")
    run_in_shell(script, room)
    write_terminal(shown([command], room), to / "backend")


def refusal(room: Path, to: Path) -> None:
    """An adaptation that is refused: a dozen seconds of one street and 20 steps are too little."""
    street = "scene:street?seed=21&frames=120&size=320x180&fps=10"
    edge(room, "record", street, "monday.mcap", "--no-masks", "--quiet")
    command = "edge adapt small monday.mcap --to my-small --steps 20 2>&1 | tail -n 25"
    write_terminal(shown([command], room), to / "adapt")


def questions(room: Path, to: Path) -> None:
    """What `edge init` asks."""
    write_terminal(asked("edge init", ["2", "drive.mp4", "", ""], _with_a_video(room)), to / "init")


def _with_a_video(room: Path) -> Path:
    edge(room, "run", STREET.format(frames=2), "--overlay", "drive.mp4", "--quiet")
    return room


def commands_of(page: str) -> str:
    """The blocks of a page that can be run as they stand."""
    text = Path(f"docs/{page}.md").read_text(encoding="utf-8")
    return "\n".join(re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL))


def panels(room: Path, to: Path) -> None:
    """What the queries of the dashboard give."""
    write_panels(room, to / "grafana")


def page(_: Path, to: Path) -> None:
    """The live page, light and dark."""
    with served(str(Path(os.environ["EDGE_DATA"]) / "drives/motorway-540p.mp4")) as url:
        _themed(url, to / "page", LIVE_WH, LIVE_S)


def _themed(url: str, stem: Path, size_wh: tuple[int, int], seconds: float) -> None:
    schemes = "light", "dark"
    for scheme, image in zip(schemes, screenshots(url, size_wh, seconds, schemes), strict=True):
        write(stem.with_name(f"{stem.name}-{scheme}.webp"), image, PAGE_QUALITY)


# What is made by which function, from the command line and by the test of the pages.
IMAGES: dict[str, Callable[[Path, Path], None]] = {
    "first-drive.webp": first_drive,
    "side-by-side.webp": motorway,
    "augmentation.webp": augmented,
    "sheet.webp": sheet,
    "loss.png": own_net,
    "build-worst.webp": own_net,
    "compare-light.webp": report,
    "compare-dark.webp": report,
    "replay-diff.webp": player,
    "picked.webp": picked,
    "outlines.webp": outlined,
    "gate-light.svg": gate,
    "gate-dark.svg": gate,
    "sink-light.svg": sink,
    "sink-dark.svg": sink,
    "backend-light.svg": backend,
    "backend-dark.svg": backend,
    "init-light.svg": questions,
    "init-dark.svg": questions,
    "adapt-light.svg": refusal,
    "adapt-dark.svg": refusal,
    "grafana-light.svg": panels,
    "grafana-dark.svg": panels,
    "page-light.webp": page,
    "page-dark.webp": page,
}


def main() -> None:
    """Make those that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(IMAGES))
    parser.add_argument("--to", type=Path, default=Path("docs/images"))
    wish = parser.parse_args()
    if unknown := [name for name in wish.names if name not in IMAGES]:
        raise SystemExit(f"docs_images: expected names of {', '.join(IMAGES)}; got {unknown[0]}")
    wish.to.mkdir(parents=True, exist_ok=True)
    for make in dict.fromkeys(IMAGES[name] for name in wish.names or IMAGES):
        with tempfile.TemporaryDirectory() as room:
            make(Path(room), wish.to)
    for path in sorted(wish.to.iterdir()):
        print(f"{path}: {path.stat().st_size / 1e3:.0f} KB")


if __name__ == "__main__":
    main()
