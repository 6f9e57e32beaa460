from __future__ import annotations

import contextlib
import resource
import struct
import zlib
from collections.abc import Callable
from itertools import product
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from videos import noise, open_files, picture

from edge.errors import NotAVideo, SourceDamaged, SourceError, SourceNotFound
from edge.frame import Frame
from edge.natural import natural_key
from edge.sources.imagefile import ImageError, decode_image, image_size_wh, jpeg_fault
from edge.sources.images import ImageFiles, list_image_files
from edge.sources.jpegscan import decode_whole_image


def write(path: Path, index: int = 0, size_wh: tuple[int, int] = (64, 48)) -> Path:
    assert cv2.imwrite(str(path), picture(index, size_wh))
    return path


def test_pictures_come_in_name_order_each_with_its_file_as_source(tmp_path: Path) -> None:
    for name, index in (("b.png", 2), ("a10.png", 1), ("a1.png", 0)):
        write(tmp_path / name, index)
    with ImageFiles(str(tmp_path)) as pictures:
        frames = list(pictures)
        assert pictures.decode.count == 3
    assert [Path(frame.source).name for frame in frames] == ["a1.png", "a10.png", "b.png"]
    assert [frame.index for frame in frames] == [0, 1, 2]
    assert [frame.media_ns for frame in frames] == [0, 100_000_000, 200_000_000]
    for index, frame in enumerate(frames):
        assert np.array_equal(frame.image, picture(index))


@given(st.lists(st.integers(0, 300), unique=True), st.booleans())
def test_numbers_in_names_are_in_their_order_padded_or_not(numbers: list[int], padded: bool) -> None:
    paths = [Path(f"day2/frame_{number:06d}.png" if padded else f"day2/frame_{number}.png") for number in numbers]
    ordered = [int(path.stem[6:]) for path in sorted(paths, key=natural_key)]
    assert ordered == sorted(numbers)


def test_folders_count_before_files_and_a_number_of_any_length_is_one() -> None:
    names = ["day10/1.png", "day2/10.png", "day2/9.png", f"day2/{'9' * 5000}.png", "day2/a.png", "day2/09.png"]
    ordered = [str(path) for path in sorted(map(Path, names), key=natural_key)]
    assert ordered == [
        "day2/09.png",
        "day2/9.png",
        "day2/10.png",
        f"day2/{'9' * 5000}.png",
        "day2/a.png",
        "day10/1.png",
    ]


def test_a_folder_says_what_it_holds(tmp_path: Path) -> None:
    write(tmp_path / "a.png", size_wh=(20, 10))
    write(tmp_path / "b.png", size_wh=(64, 48))
    pictures = ImageFiles(str(tmp_path))
    assert (pictures.size_wh, pictures.frame_count, pictures.rate_hz) == ((20, 10), 2, 10.0)
    assert [frame.size_wh for frame in pictures] == [(20, 10), (64, 48)]


def test_other_files_and_folders_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "old.png").mkdir()
    write(tmp_path / "a.PNG".lower()).rename(tmp_path / "a.PNG")
    assert [path.name for path in list_image_files(str(tmp_path))] == ["a.PNG"]


@pytest.mark.parametrize("ending", [".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"])
def test_every_kind_of_picture_is_read(ending: str, tmp_path: Path) -> None:
    (frame,) = ImageFiles(str(write(tmp_path / f"a{ending}")))
    assert np.abs(frame.image.astype(int) - picture(0)).mean() < 6  # what JPEG and WebP lose


@pytest.mark.parametrize("kind", ["grey", "16 bit", "transparent"])
def test_every_picture_becomes_8_bit_bgr(kind: str, tmp_path: Path) -> None:
    grey = np.full((4, 6), 90, np.uint8)
    stored = {
        "grey": grey,
        "16 bit": np.full((4, 6, 3), 90 * 257, np.uint16),
        "transparent": np.dstack([grey, grey, grey, np.zeros_like(grey)]),
    }[kind]
    assert cv2.imwrite(str(tmp_path / "a.png"), stored)
    (frame,) = ImageFiles(str(tmp_path))
    assert frame.image.dtype == np.uint8
    assert np.array_equal(frame.image, np.full((4, 6, 3), 90))


def test_a_pattern_picks_pictures(tmp_path: Path) -> None:
    for name in ("left_1.png", "left_2.png", "right_1.png"):
        write(tmp_path / name)
    assert [path.name for path in list_image_files(f"{tmp_path}/left_*.png")] == ["left_1.png", "left_2.png"]
    (tmp_path / "deep" / "er").mkdir(parents=True)
    write(tmp_path / "deep" / "er" / "left_3.png")
    assert len(list_image_files(f"{tmp_path}/**/left_*.png")) == 3


def test_a_picture_whose_name_looks_like_a_pattern_is_that_picture(tmp_path: Path) -> None:
    write(tmp_path / "a[1].png")
    write(tmp_path / "a1.png")
    assert [path.name for path in list_image_files(f"{tmp_path}/a[1].png")] == ["a[1].png"]


@pytest.mark.parametrize("name", ["none", "phto.jpg"])
def test_an_image_or_folder_that_does_not_exist_is_said_not_to(name: str, tmp_path: Path) -> None:
    write(tmp_path / "photo.jpg")
    meant = f"; did you mean '{tmp_path}/photo.jpg'\\?" if name == "phto.jpg" else "."
    with pytest.raises(SourceNotFound, match=f"{name}: there is no such file{meant} Look at what is there: ls "):
        ImageFiles(f"{tmp_path}/{name}")


@pytest.mark.parametrize("place", ["", "/*.png", "/notes.txt"])
def test_no_picture_at_all_is_not_found(place: str, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(SourceNotFound, match=r"no images there \(\.jpg, .*\)\. Look at what is there: ls "):
        ImageFiles(f"{tmp_path}{place}")


@pytest.mark.parametrize("ending", [".jpg", ".png", ".bmp", ".webp", ".tif"])
@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 0.95])
def test_a_picture_cut_off_is_left_out_and_named_at_the_end(ending: str, share: float, tmp_path: Path) -> None:
    assert cv2.imwrite(str(tmp_path / f"b{ending}"), noise(1))
    data = (tmp_path / f"b{ending}").read_bytes()
    (tmp_path / f"b{ending}").write_bytes(data[: int(len(data) * share)])
    write(tmp_path / "a.png", 0)
    write(tmp_path / "c.png", 2)
    frames: list[Frame] = []
    with pytest.raises(SourceDamaged, match=rf"1 of 3 images could not be read, first {tmp_path}/b\{ending}: "):
        frames.extend(ImageFiles(str(tmp_path)))
    assert [frame.index for frame in frames] == [0, 2]
    assert np.array_equal(frames[1].image, picture(2))


def test_a_jpeg_with_bytes_after_its_end_or_a_preview_inside_is_whole(tmp_path: Path) -> None:
    data = cv2.imencode(".jpg", picture(0))[1].tobytes()
    preview = cv2.imencode(".jpg", picture(0, (16, 12)))[1].tobytes()
    exif = b"\xff\xe1" + (len(preview) + 2).to_bytes(2, "big") + preview
    (tmp_path / "a.jpg").write_bytes(data + b"\0" * 100)
    (tmp_path / "b.jpg").write_bytes(data[:2] + exif + data[2:])
    assert len(list(ImageFiles(str(tmp_path)))) == 2
    (tmp_path / "b.jpg").write_bytes((data[:2] + exif + data[2:])[: -len(data) // 2])
    with pytest.raises(SourceDamaged, match=r"b\.jpg"):
        list(ImageFiles(str(tmp_path)))


SAMPLINGS = [0x111111, 0x211111, 0x221111, 0x411111, 0x121111]


@pytest.mark.parametrize("size_wh", [(8, 8), (64, 48), (325, 211), (1280, 720)])
@pytest.mark.parametrize("sampling", [None, *SAMPLINGS])
def test_no_whole_jpeg_has_a_rest(sampling: int | None, size_wh: tuple[int, int]) -> None:
    image = np.full((*size_wh[::-1], 3), 128, np.uint8) if sampling == 0x111111 else picture(0, size_wh)
    if sampling is None:
        image = image[..., 0]
    for quality, optimize in product((20, 80, 100), (0, 1)):
        flags = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_OPTIMIZE, optimize]
        flags += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling] if sampling else []
        data = cv2.imencode(".jpg", image, flags)[1].tobytes()
        assert np.array_equal(decode_whole_image(data), cv2.imdecode(np.frombuffer(data, np.uint8), 1))


@pytest.mark.parametrize("sampling", [None, *SAMPLINGS])
def test_a_jpeg_whose_data_do_not_end_with_its_image_is_refused(sampling: int | None) -> None:
    image = noise(0, (320, 240))
    flags = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling] if sampling else []
    data = cv2.imencode(".jpg", image if sampling else image[..., 0], flags)[1].tobytes()
    at = data.index(b"\xff\xc0" if b"\xff\xc0" in data else b"\xff\xc1") + 5
    shorter = data[:at] + (240 - 16).to_bytes(2, "big") + data[at + 2 :]  # a row or two of blocks are left over
    with pytest.raises(ImageError, match="its data do not end where its image does"):
        decode_whole_image(shorter)
    assert decode_whole_image(shorter, live=True).shape == (224, 320, 3)


def test_most_jpegs_with_a_small_hole_are_refused() -> None:
    dice, refused = np.random.default_rng(0), 0
    for index in range(40):
        data = bytearray(cv2.imencode(".jpg", noise(index, (320, 240)))[1].tobytes())
        at = int(dice.integers(len(data) // 4, len(data) * 3 // 4))
        data[at : at + 20] = dice.integers(0, 255, 20, np.uint8).tobytes()
        try:
            decode_whole_image(bytes(data))
        except ImageError:
            refused += 1
    assert refused >= 28


def png_of(size_wh: tuple[int, int]) -> bytes:
    """A PNG whose header claims that size; its rows are a few bytes."""
    head = struct.pack(">4sIIBBBBB", b"IHDR", *size_wh, 8, 0, 0, 0, 0)
    chunks = [head, b"IDAT" + zlib.compress(bytes(1000)), b"IEND"]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in chunks
    )


@pytest.mark.parametrize("size_wh", [(32000, 32000), (65535, 65535), (2**31 - 1, 1), (1, 2**30)])
def test_an_image_that_claims_more_than_the_limit_takes_no_memory(size_wh: tuple[int, int], tmp_path: Path) -> None:
    (tmp_path / "bomb.png").write_bytes(png_of(size_wh))
    used_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(NotAVideo, match=rf"bomb.png: {size_wh[0]}x{size_wh[1]} is .*, expected at most 33.2"):
        ImageFiles(str(tmp_path))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - used_kb < 100_000


@pytest.mark.parametrize("ending", [".jpg", ".png", ".bmp", ".webp", ".tif"])
@pytest.mark.parametrize("size_wh", [(64, 48), (33, 1), (5, 700)])
def test_the_size_is_read_from_the_header_of_every_format(ending: str, size_wh: tuple[int, int]) -> None:
    image = noise(3, size_wh)
    for flags in ([], [cv2.IMWRITE_WEBP_QUALITY, 101] if ending == ".webp" else []):
        data = cv2.imencode(ending, image, flags)[1].tobytes()
        assert image_size_wh(data) == size_wh
        assert decode_image(data).shape == image.shape


@given(st.sampled_from([".jpg", ".png", ".bmp", ".webp", ".tif"]), st.integers(0, 400), st.integers(0, 255))
def test_no_bytes_whatsoever_are_a_crash(ending: str, at: int, value: int) -> None:
    data = bytearray(cv2.imencode(ending, noise(1, (16, 12)))[1].tobytes())
    data[at % len(data)] = value
    with contextlib.suppress(ImageError):
        assert decode_image(bytes(data)).ndim == 3
    with contextlib.suppress(ImageError):
        decode_image(bytes(data[:at]))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda data: data[: len(data) // 2], "end marker is missing"),
        (lambda data: data[:-2], "end marker is missing"),
        (lambda data: data[:60], "cut off within its headers"),
        (lambda data: data[: len(data) // 2] + data, "marker d8 within its data"),
        (lambda data: data[: len(data) // 2] + b"\xff\xc0" + data[len(data) // 2 :], "marker c0 within its data"),
        (lambda data: data[1:], "does not begin as a JPEG"),
        (lambda data: data[:2] + data[-2:], "holds no image"),
    ],
)
def test_a_damaged_jpeg_is_known_by_its_markers(damage: Callable[[bytes], bytes], said: str) -> None:
    data = cv2.imencode(".jpg", noise(2))[1].tobytes()
    assert jpeg_fault(data) == ""
    assert jpeg_fault(data + bytes(500)) == ""  # drivers pad
    assert said in jpeg_fault(damage(data))


def test_a_progressive_jpeg_with_restarts_is_whole() -> None:
    flags = [cv2.IMWRITE_JPEG_PROGRESSIVE, 1, cv2.IMWRITE_JPEG_RST_INTERVAL, 2]
    assert jpeg_fault(cv2.imencode(".jpg", noise(2), flags)[1].tobytes()) == ""


def test_a_first_picture_that_cannot_be_read_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no picture")
    write(tmp_path / "b.png")
    with pytest.raises(NotAVideo, match=rf"{tmp_path}/a\.png: is not an image that can be read"):
        ImageFiles(str(tmp_path))


def test_a_picture_that_vanishes_meanwhile_is_named(tmp_path: Path) -> None:
    write(tmp_path / "a.png")
    write(tmp_path / "b.png").chmod(0o600)
    pictures = ImageFiles(str(tmp_path))
    (tmp_path / "b.png").unlink()
    with pytest.raises(SourceDamaged, match=r"b\.png"):
        list(pictures)


def test_a_folder_that_may_not_be_looked_into_says_so(public_folder: Path, as_nobody: Callable) -> None:
    closed = public_folder / "closed"
    closed.mkdir()
    write(closed / "a.png")
    closed.chmod(0)
    for place in (closed, closed / "deeper", closed / "a.png"):
        with as_nobody(), pytest.raises(SourceError, match="Permission denied"):
            ImageFiles(str(place))
    closed.chmod(0o755)


def test_no_picture_stays_open(tmp_path: Path) -> None:
    write(tmp_path / "a.png")
    list(ImageFiles(str(tmp_path)))
    assert open_files(tmp_path) == []


def with_a_hole(data: bytes, hole: int = 2000) -> bytes:
    """As a lost packet or a bad sector leaves it: its markers and its end are there."""
    return data[: len(data) // 2] + data[len(data) // 2 + hole :]


@pytest.mark.parametrize("progressive", [0, 1])
def test_a_jpeg_with_a_hole_is_an_image_that_could_not_be_read(progressive: int, tmp_path: Path) -> None:
    write(tmp_path / "0.png")
    data = cv2.imencode(".jpg", noise(0, (320, 240)), [cv2.IMWRITE_JPEG_PROGRESSIVE, progressive])[1].tobytes()
    (tmp_path / "1.jpg").write_bytes(data)
    (tmp_path / "2.jpg").write_bytes(with_a_hole(data))
    frames: list[Frame] = []
    with ImageFiles(str(tmp_path)) as images, pytest.raises(SourceDamaged, match=r"2\.jpg: is damaged: a part"):
        frames.extend(images)
    assert [frame.index for frame in frames] == [0, 1]


def test_a_whole_jpeg_of_any_making_has_no_hole() -> None:
    names = ("411", "420", "422", "440", "444")
    samplings = [getattr(cv2, f"IMWRITE_JPEG_SAMPLING_FACTOR_{name}") for name in names]
    for size_wh, quality, progressive, restart, sampling in product(
        ((1, 1), (7, 5), (333, 211)), (5, 100), (0, 1), (0, 16), samplings
    ):
        options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_PROGRESSIVE, progressive]
        options += [cv2.IMWRITE_JPEG_RST_INTERVAL, restart, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling]
        image = decode_whole_image(cv2.imencode(".jpg", noise(0, size_wh), options)[1].tobytes())
        assert image.shape == (size_wh[1], size_wh[0], 3)


def test_a_jpeg_of_thousands_of_scans_over_a_large_image_is_not_decoded() -> None:
    data = cv2.imencode(".jpg", picture(0, (64, 48)), [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    last = data[data.rfind(b"\xff\xda") : -2]
    assert not jpeg_fault(data)
    assert "more than 100 scans" in jpeg_fault(data[:-2] + last * 3000 + data[-2:])
