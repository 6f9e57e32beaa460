"""The rendered street: the same for everybody, true to its labels, and alive."""

from __future__ import annotations

import hashlib
import itertools
import subprocess
import sys

import numpy as np
import pytest

from edge.barcode import barcode_rect_xywh, read_barcode
from edge.classes import CAMVID
from edge.errors import ConfigError
from edge.sources.scene import SceneOptions, SceneSource, parse_scene_uri
from edge.street.render import Rendered, StreetScene

SMALL = (320, 240)
CAR, PEDESTRIAN, BICYCLIST = (CAMVID.names.index(name) for name in ("Car", "Pedestrian", "Bicyclist"))


def digest(rendered: Rendered) -> str:
    parts = (rendered.image, rendered.classes, rendered.instances)
    return hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()


@pytest.fixture(scope="module")
def drives() -> dict[int, list[Rendered]]:
    """A few frames, a second apart, of some streets; some with people, bicycles, trees and fences."""
    scenes = {seed: StreetScene(seed, SMALL) for seed in (1, 7, 12, 17)}
    return {seed: [scene.render(30 * k) for k in range(5)] for seed, scene in scenes.items()}


@pytest.fixture(scope="module")
def pair() -> tuple[Rendered, Rendered]:
    """Two frames of a street, half a second apart."""
    scene = StreetScene(20, (640, 360))
    return scene.render(0), scene.render(15)


@pytest.mark.slow
def test_a_frame_depends_on_its_number_alone() -> None:
    forwards, backwards = StreetScene(5, SMALL), StreetScene(5, SMALL)
    indices = [0, 3, 400, 41]
    first = {index: digest(forwards.render(index)) for index in indices}
    second = {index: digest(backwards.render(index)) for index in reversed(indices)}
    assert first == second
    assert digest(forwards.render(3)) == first[3]


@pytest.mark.slow
def test_a_new_process_draws_the_same_bytes() -> None:
    code = (
        "import hashlib; from edge.street.render import StreetScene\n"
        f"r = StreetScene(5, {SMALL}).render(41)\n"
        "print(hashlib.sha256(r.image.tobytes() + r.classes.tobytes() + r.instances.tobytes()).hexdigest())"
    )
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert there == digest(StreetScene(5, SMALL).render(41))


@pytest.mark.slow
def test_frames_are_the_callers_to_change() -> None:
    scene = StreetScene(5, SMALL)
    first = scene.render(2)
    kept = digest(first)
    second = scene.render(2)
    first.image[:], first.classes[:], first.instances[:] = 0, 0, 0
    assert digest(second) == kept


@pytest.mark.slow
def test_arrays_have_the_promised_shapes(drives: dict[int, list[Rendered]]) -> None:
    for rendered in drives[7]:
        assert (rendered.image.shape, rendered.image.dtype) == ((240, 320, 3), np.uint8)
        assert (rendered.classes.shape, rendered.classes.dtype) == ((240, 320), np.uint8)
        assert (rendered.instances.shape, rendered.instances.dtype) == ((240, 320), np.uint16)


@pytest.mark.slow
def test_every_label_is_in_the_table(drives: dict[int, list[Rendered]]) -> None:
    for rendered in itertools.chain(*drives.values()):
        assert rendered.classes.max() < len(CAMVID)


@pytest.mark.slow
@pytest.mark.parametrize("name", CAMVID.names)
def test_every_class_occurs(drives: dict[int, list[Rendered]], name: str) -> None:
    pixels = sum(int((r.classes == CAMVID.names.index(name)).sum()) for r in itertools.chain(*drives.values()))
    assert pixels > 40


@pytest.mark.slow
def test_road_is_below_and_sky_above(drives: dict[int, list[Rendered]]) -> None:
    for rendered in itertools.chain(*drives.values()):
        assert not (rendered.classes[-40:] == CAMVID.names.index("Sky")).any()
        assert not (rendered.classes[:60] == CAMVID.names.index("Road")).any()
        assert (rendered.classes[-30:] == CAMVID.names.index("Road")).mean() > 0.25


@pytest.mark.slow
def test_instances_lie_on_people_bicycles_and_cars_and_on_all_of_them(drives: dict[int, list[Rendered]]) -> None:
    for rendered in itertools.chain(*drives.values()):
        counted = np.isin(rendered.classes, (CAR, PEDESTRIAN, BICYCLIST))
        np.testing.assert_array_equal(rendered.instances > 0, counted)


@pytest.mark.slow
def test_an_instance_keeps_its_class_from_frame_to_frame() -> None:
    scene = StreetScene(1, SMALL)
    seen: dict[int, int] = {}
    shared = 0
    for index in range(0, 60, 6):
        rendered = scene.render(index)
        for instance in np.unique(rendered.instances[rendered.instances > 0]).tolist():
            classes = np.unique(rendered.classes[rendered.instances == instance])
            assert len(classes) == 1
            shared += instance in seen
            assert seen.setdefault(instance, int(classes[0])) == int(classes[0])
    assert shared > 20


def shape(rendered: Rendered, instance: int) -> np.ndarray:
    """The instance's pixels, in its own box, put to one size."""
    rows, columns = np.nonzero(rendered.instances == instance)
    grid = np.zeros((24, 12), bool)
    y = (rows - rows.min()) * 23 // max(1, rows.max() - rows.min())
    x = (columns - columns.min()) * 11 // max(1, columns.max() - columns.min())
    grid[y, x] = True
    return grid


@pytest.mark.slow
def test_a_pedestrian_moves_and_moves_its_limbs(pair: tuple[Rendered, Rendered]) -> None:
    before, after = pair
    people = np.intersect1d(
        before.instances[before.classes == PEDESTRIAN], after.instances[after.classes == PEDESTRIAN]
    )
    tall = [n for n in people.tolist() if (before.instances == n).sum() > 150]
    assert tall
    moved = [n for n in tall if not np.array_equal(before.instances == n, after.instances == n)]
    changed = [n for n in tall if (shape(before, n) ^ shape(after, n)).mean() > 0.05]
    assert moved == tall
    assert changed


@pytest.mark.slow
def test_one_frame_is_like_the_next_but_not_the_same() -> None:
    scene = StreetScene(12, SMALL)
    for index in (10, 200):
        first, second = scene.render(index), scene.render(index + 1)
        difference = np.abs(first.image.astype(int) - second.image).mean()
        assert 0.5 < difference < 20
        assert (first.classes == second.classes).mean() > 0.9


@pytest.mark.slow
def test_the_clock_not_the_frame_number_moves_the_street() -> None:
    slow, fast = StreetScene(3, SMALL, rate_hz=10.0), StreetScene(3, SMALL, rate_hz=30.0)
    np.testing.assert_array_equal(slow.render(5).classes, fast.render(15).classes)


@pytest.mark.slow
def test_seeds_give_different_streets(drives: dict[int, list[Rendered]]) -> None:
    for one, other in itertools.combinations(drives.values(), 2):
        assert (one[0].classes == other[0].classes).mean() < 0.9
        assert np.abs(one[0].image.astype(int) - other[0].image).mean() > 10


@pytest.mark.slow
def test_the_street_goes_on_after_an_hour() -> None:
    rendered = StreetScene(2, SMALL).render(30 * 3600)
    assert len(np.unique(rendered.classes)) >= 5


def test_a_uri_says_seed_frames_size_and_rate() -> None:
    assert parse_scene_uri("scene:street") == SceneOptions(seed=7, frames=300, size=(1280, 720), fps=30.0)
    uri = "scene:street?seed=11&frames=0&size=480x360&fps=12.5"
    assert parse_scene_uri(uri) == SceneOptions(seed=11, frames=0, size=(480, 360), fps=12.5)


@pytest.mark.parametrize(
    ("uri", "found"),
    [
        ("scene:forest", "'forest'"),
        ("scene:", "''"),
        ("street?seed=1", "'street?seed=1'"),
        ("scene:street?colour=red", "'colour'"),
        ("scene:street?seed=1&seed=2", "'seed' twice"),
        ("scene:street?seed=-1", "seed=-1"),
        ("scene:street?seed=seven", "seed=seven"),
        ("scene:street?seed", "seed="),
        ("scene:street?seed=4294967296", "seed=4294967296"),
        ("scene:street?frames=1.5", "frames=1.5"),
        ("scene:street?fps=0", "fps=0"),
        ("scene:street?fps=nan", "fps=nan"),
        ("scene:street?size=641x360", "size=641x360"),
        ("scene:street?size=158x120", "size=158x120"),
        ("scene:street?size=3842x2160", "size=3842x2160"),
        ("scene:street?size=1280", "size=1280"),
    ],
)
def test_a_wrong_uri_is_answered_with_what_was_found_and_an_example(uri: str, found: str) -> None:
    with pytest.raises(ConfigError) as caught:
        SceneSource(uri)
    message = str(caught.value)
    assert f"got {found}" in message or f"got the scene {found}" in message or f"got the key {found}" in message
    assert "expected" in message
    assert "scene:street?seed=7&frames=300&size=1280x720&fps=30" in message
    assert "\n" not in message


@pytest.mark.slow
def test_a_source_gives_frames_that_carry_their_number_and_time() -> None:
    uri = "scene:street?frames=3&size=320x240&fps=20"
    with SceneSource(uri) as source:
        assert (source.name, source.size_wh, source.rate_hz, source.frame_count, source.live) == (
            uri,
            SMALL,
            20,
            3,
            False,
        )
        frames = list(source)
    assert [frame.index for frame in frames] == [0, 1, 2]
    assert [frame.media_ns for frame in frames] == [0, 50_000_000, 100_000_000]
    assert [read_barcode(frame.image) for frame in frames] == [(frame.index, frame.captured_ns) for frame in frames]
    assert frames[0].captured_ns < frames[1].captured_ns < frames[2].captured_ns
    assert {frame.source for frame in frames} == {uri}


@pytest.mark.slow
def test_a_source_without_an_end_goes_on() -> None:
    with SceneSource("scene:street?frames=0&size=160x120") as source:
        assert source.frame_count is None
        assert [frame.index for frame in itertools.islice(source, 4)] == [0, 1, 2, 3]


@pytest.mark.slow
def test_truth_is_the_scenes_but_for_the_barcode() -> None:
    with SceneSource("scene:street?seed=1&size=320x240") as source:
        classes, instances = source.truth(9)
        rendered = source.rendered(9)
    x, y, w, h = barcode_rect_xywh(SMALL)
    assert (classes[y : y + h, x : x + w] == CAMVID.ignore_id).all()
    assert not instances[y : y + h, x : x + w].any()
    classes[y : y + h, x : x + w] = rendered.classes[y : y + h, x : x + w]
    np.testing.assert_array_equal(classes, rendered.classes)


@pytest.mark.slow
def test_a_rendered_street_has_no_barcode_by_chance() -> None:
    assert read_barcode(StreetScene(7, (640, 360)).render(0).image) is None


@pytest.mark.slow
def test_a_thing_of_one_pixel_is_drawn() -> None:
    """OpenCV 5 cannot compare a 1x1 picture with a number; frame 0 of this street has such a tree."""
    StreetScene(5, (320, 180)).render(0)


@pytest.mark.slow
def test_a_long_drive_keeps_the_houses_of_the_stretch_in_view_and_no_others() -> None:
    scene = StreetScene(seed=7, size_wh=(160, 120))
    for index in range(0, 5400, 90):  # three minutes, 3 s apart: some forty blocks
        scene.render(index)
    kept = scene._scenery._fronts
    near = {block.number for block in scene._world.blocks_near(scene._view(5310).s)}
    assert kept
    assert {key // 256 for key in kept} <= near


@pytest.mark.slow
def test_memory_of_a_long_drive_levels_off() -> None:
    """Resident memory after ten minutes of street, over that after two, in a process of its own."""
    code = (
        "from edge.street.render import StreetScene\n"
        "scene = StreetScene(seed=7, size_wh=(320, 180))\n"
        "def resident(): return int(open('/proc/self/statm').read().split()[1])\n"
        "for index in range(0, 18000, 90):\n"
        "    scene.render(index)\n"
        "    if index in (3600, 17910): print(resident())\n"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    early, late = map(int, told.stdout.split())
    assert late < 1.25 * early, f"{early * 4 / 1024:.0f} MB after two minutes, {late * 4 / 1024:.0f} MB after ten"
