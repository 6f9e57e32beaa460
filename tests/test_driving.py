"""Events in metres and seconds, of made-up results and of a rendered street with its truth."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from stand_in import PEDESTRIAN, ROAD, SKY, result_of

from edge.classes import CAMVID
from edge.config import parse_tree
from edge.driving import LaneLimits
from edge.errors import ConfigError
from edge.events import Event, EventOptions, Watcher
from edge.frame import Frame, Letterbox
from edge.geometry.free_space import FreeSpace
from edge.geometry.lane import Boundary, EgoLane
from edge.geometry.model import CameraModel
from edge.grouping import Instances
from edge.instances import CUT, Instance
from edge.location import Fix
from edge.metres import Metres
from edge.prediction import Prediction
from edge.service.check import check
from edge.service.config import ServeConfig
from edge.service.outputs import settings_of
from edge.sinks.events import EventSink
from edge.steps import Steps
from edge.street.render import StreetScene
from edge.tracking import Tracks

RATE_HZ, PAVEMENT = 10, 4
STREET_HZ, STREET_FRAMES, CROSSING = 10.0, range(56, 96), 63021  # of seed 1: who crosses then, by the street's number
QUIET: dict[str, Any] = {"pedestrian_ahead": None, "road_gone": None, "out_of_domain": None}
NEAR = {"person_near": {"begin": 10.0, "end": 12.0}}
SOON = {"person_soon": {"begin": 2.0, "end": 3.0}}
LANE = {"lane_departure": {"begin": 0.1, "end": 0.3}}
SHORT = {"road_short": {"begin": 8.0, "end": 10.0}}
LANES = EgoLane(*(Boundary(x, 0.0, 0.0, 30.0, "solid", 1.0) for x in (-1.8, 1.8)))

Of = Callable[[float], dict[str, Any]]  # by time in seconds: what a result has


def street() -> np.ndarray:
    """uint8 (60, 80): sky above, pavement in the left half below, road in the right."""
    classes = np.full((60, 80), SKY, np.uint8)
    classes[30:, :40], classes[30:, 40:] = PAVEMENT, ROAD
    return classes


def person(distance_m: float | None, track_id: int = 1, left: int = 120, **known: Any) -> Instance:
    """On the road, unless it is further to the left."""
    box = (float(left), 60.0, left + 10.0, 100.0)
    return Instance(1, PEDESTRIAN, "Pedestrian", box, 9.0, (0.0, 0.0), None, track_id, distance_m=distance_m, **known)


def results_of(of: Of, seconds: float) -> list[Prediction]:
    results = []
    for index in range(round(seconds * RATE_HZ) + 1):
        at_ns = index * 10**9 // RATE_HZ
        image = np.zeros((120, 160, 3), np.uint8)
        result = result_of(index, street(), image=image, media_ns=at_ns, captured_ns=at_ns + 10**9)
        known = of(index / RATE_HZ)
        if (speed := known.pop("speed_m_s", None)) is not None:
            result.frame.fix = Fix(52.5, 13.4, speed_m_s=speed)
        results.append(dataclasses.replace(result, **{"lane": LANES, **known}))
    return results


def watched(options: dict[str, Any], of: Of, seconds: float) -> list[Event]:
    watcher = Watcher(EventOptions.model_validate({**QUIET, **options}), CAMVID, None)
    return [event for result in results_of(of, seconds) for event in watcher.look(result)]


def when(events: Sequence[Event]) -> list[tuple[str, bool, float]]:
    return [(event.name, event.active, round(event.frame / RATE_HZ, 2)) for event in events]


def people(*found: Instance) -> dict[str, Any]:
    return {"instances": found}


def test_someone_nearer_than_the_limit_is_an_event_until_they_are_farther_than_the_other() -> None:
    """Nearer by 5 m/s from 20 m, at 2 s at 10 m; then away again, at 12 m after 4.4 s."""
    events = watched(NEAR, lambda t: people(person(round(abs(3 - t) * 5 + 5, 2), in_lane=False)), 6)
    assert when(events) == [("person_near", True, 2.2), ("person_near", False, 4.6)]
    assert events[0].value == 9.0
    assert events[0].facts == {"track_id": 1, "group": "pedestrian", "distance_m": 9.0, "in_lane": False}


def test_a_figure_between_the_limits_neither_begins_nor_ends_an_event() -> None:
    events = watched(NEAR, lambda t: people(person(11.0 + 0.9 * np.sin(9 * t))), 5)
    assert events == []
    events = watched(NEAR, lambda t: people(person(9.0 if t < 1 else 11.0 + 0.9 * np.sin(9 * t))), 5)
    assert when(events) == [("person_near", True, 0.2)]


def test_a_single_odd_distance_is_no_event() -> None:
    assert watched(NEAR, lambda t: people(person(4.0 if round(t, 2) == 1.0 else 20.0)), 3) == []


def test_each_person_has_an_event_of_their_own() -> None:
    events = watched(NEAR, lambda t: people(person(9.0, 7), person(8.0 if 1 <= t < 2 else 30.0, 9)), 3)
    told = [(event.facts["track_id"], event.active, event.frame / RATE_HZ) for event in events]
    assert told == [(7, True, 0.2), (9, True, 1.2), (9, False, 2.2)]


def test_someone_on_the_pavement_is_in_nobodys_way_unless_it_is_in_the_lane() -> None:
    assert watched(NEAR, lambda t: people(person(5.0, left=30)), 2) == []
    assert when(watched(NEAR, lambda t: people(person(5.0, left=30, in_lane=True)), 1)) == [("person_near", True, 0.2)]


def test_with_the_lane_alone_the_rest_of_the_road_does_not_count() -> None:
    options = {"person_near": {**NEAR["person_near"], "where": "lane"}}
    for in_lane, expected in ((True, 1), (False, 0), (None, 0)):
        assert len(watched(options, lambda t, known=in_lane: people(person(5.0, in_lane=known)), 1)) == expected


def test_someone_who_steps_onto_the_pavement_ends_the_event() -> None:
    events = watched(NEAR, lambda t: people(person(8.0, left=120 if t < 2 else 30)), 4)
    assert when(events) == [("person_near", True, 0.2), ("person_near", False, 2.2)]
    assert events[1].value == 8.0


def test_someone_hidden_for_a_moment_stays_and_someone_gone_is_gone() -> None:
    events = watched(NEAR, lambda t: people(*([] if 1 < t < 1.6 or t > 3 else [person(8.0)])), 6)
    assert when(events)[0] == ("person_near", True, 0.2)
    (ended,) = events[1:]
    assert not ended.active
    assert ended.frame / RATE_HZ > 3.5


def test_someone_whose_feet_are_below_the_image_is_not_gone() -> None:
    near, cut = person(5.0), person(None, no_distance=CUT)
    events = watched(NEAR, lambda t: people(near if t < 1 else cut), 8)
    assert when(events) == [("person_near", True, 0.2)]


def test_results_that_do_not_follow_end_all_events() -> None:
    results = results_of(lambda t: people(person(5.0)), 2)
    watcher = Watcher(EventOptions.model_validate({**QUIET, **NEAR}), CAMVID, None)
    again = [*results[:10], *results]
    events = [event for result in again for event in watcher.look(result)]
    assert [event.active for event in events] == [True, False, True]
    assert watcher.active == {"person_near": True}


def test_the_time_to_reach_someone_is_by_the_speed_of_the_gps() -> None:
    """30 m away at 10 m/s: at 2 s of time after a second."""
    events = watched(SOON, lambda t: {**people(person(30 - 10 * t)), "speed_m_s": 10.0}, 2.5)
    assert when(events) == [("person_soon", True, 1.2)]
    assert events[0].value == pytest.approx(1.8)
    assert events[0].facts["time_s"] == 1.8


def test_braking_ends_it_and_a_standing_car_reaches_nobody() -> None:
    events = watched(SOON, lambda t: {**people(person(10.0)), "speed_m_s": 10.0 if t < 2 else 0.4}, 4)
    assert when(events) == [("person_soon", True, 0.2), ("person_soon", False, 2.2)]


def test_without_a_speed_there_is_no_time_and_near_is_near_all_the_same() -> None:
    events = watched({**NEAR, **SOON}, lambda t: people(person(5.0)), 2)
    assert when(events) == [("person_near", True, 0.2)]
    assert "time_s" not in events[0].facts


def test_a_fix_that_is_lost_ends_the_event_after_a_while() -> None:
    def of(t: float) -> dict[str, Any]:
        return {**people(person(5.0)), **({"speed_m_s": 10.0} if t < 1 else {})}

    events = watched(SOON, of, 6)
    assert [event.active for event in events] == [True, False]


def lane_at(right_m: float) -> EgoLane:
    """A lane of 3.6 m whose middle is so far to the right of the lens."""
    return EgoLane(
        *(dataclasses.replace(line, offset_m=right_m + x) for line, x in zip(both(), (-1.8, 1.8), strict=True))
    )


def both() -> tuple[Boundary, Boundary]:
    assert LANES.left is not None
    assert LANES.right is not None
    return LANES.left, LANES.right


def test_the_edge_of_a_mask_is_no_line_to_depart_over() -> None:
    edges = EgoLane(*(dataclasses.replace(line, kind="road_edge") for line in both()))
    assert LaneLimits(begin=0.1, end=0.3).nearest(edges) is None
    assert LaneLimits(begin=0.1, end=0.3).nearest(dataclasses.replace(edges, right=both()[1])) == (
        "right",
        pytest.approx(0.9),
    )


@pytest.mark.parametrize(("way", "side"), [(1, "left"), (-1, "right")])
def test_a_car_that_drifts_over_a_line_departs_from_its_lane(way: int, side: str) -> None:
    """0.9 m of room to each side; it drifts by 0.4 m/s and comes back."""
    events = watched(LANE, lambda t: {"lane": lane_at(way * 0.4 * (3 - abs(t - 3)))}, 6)
    assert [event.active for event in events] == [True, False]
    assert events[0].facts["side"] == side
    assert events[0].value == pytest.approx(0.9 - 0.4 * events[0].frame / RATE_HZ)
    assert -0.1 < events[0].value < 0.1


def test_where_the_lens_is_in_the_car_counts() -> None:
    off = {"lane_departure": {**LANE["lane_departure"], "lens_right_m": 0.5}}
    assert watched(off, lambda t: {"lane": lane_at(0.4)}, 2) != []  # the car's middle is 0.9 m left of the lane's
    assert watched(off, lambda t: {"lane": lane_at(-0.4)}, 2) == []


def test_a_lane_that_is_unknown_is_no_departure() -> None:
    assert watched(LANE, lambda t: {"lane": EgoLane(None, None)}, 2) == []


def test_a_road_that_ends_near_is_an_event() -> None:
    events = watched(SHORT, lambda t: {"free_space": FreeSpace((), 30.0 - 10 * t if t < 3 else 30.0, 60.0)}, 4)
    assert when(events) == [("road_short", True, 2.4), ("road_short", False, 3.2)]
    assert events[0].facts == {"ahead_m": 6.0}
    assert watched(SHORT, lambda t: {"free_space": FreeSpace((), None, 60.0)}, 2) == []


def test_an_event_is_a_line_of_json_with_whom_it_is_about() -> None:
    (event,) = watched(NEAR, lambda t: people(person(5.0)), 1)
    assert json.loads(json.dumps(event.as_json())) == {
        "event": "person_near",
        "active": True,
        "captured_ns": 1_200_000_000,
        "frame": 2,
        "value": 5.0,
        "track_id": 1,
        "group": "pedestrian",
        "distance_m": 5.0,
    }


def test_an_event_in_metres_has_the_flight_recorder_write(caplog: pytest.LogCaptureFixture) -> None:
    from edge.sinks.flight import FlightRecorder

    recorder = FlightRecorder.__new__(FlightRecorder)
    heard: list[str] = []
    recorder._events, recorder.trigger = __import__("collections").deque(), heard.append  # type: ignore[method-assign]
    watcher = Watcher(EventOptions.model_validate({**QUIET, **NEAR}), CAMVID, None)
    sink = EventSink(watcher, [recorder.event])
    for result in results_of(lambda t: people(person(5.0)), 1):
        sink.write(result, 0)
    assert heard == ["person_near began at frame 2"]
    assert "person_near began at frame 2 (5.0000), track_id 1, group pedestrian, distance_m 5.0" in caplog.text


def test_results_without_metres_are_said_once(caplog: pytest.LogCaptureFixture) -> None:
    watched(NEAR, lambda t: {"lane": None}, 1)
    assert caplog.text.count("results are not in metres") == 1


# -------------------------------------------------------------------------------------------------------------- config


@pytest.mark.parametrize(
    ("events", "words"),
    [
        ({"person_near": {"begin": 10, "end": 8}}, r"end \(8\) must not be below begin \(10\)"),
        ({"person_near": {"begin": 0, "end": 8}}, "begin"),
        ({"person_near": {"begin": 5}}, "end"),
        ({"person_near": {"begin": 5, "end": 8, "groups": ["vehicle"]}}, "groups"),
        ({"person_near": {"begin": 5, "end": 8, "where": "pavement"}}, "where"),
        ({"lane_departure": {"begin": 0.1, "end": 0.3, "width_m": 40}}, "width_m"),
        ({"road_short": {"begin": 5, "end": 8, "side": 3}}, "side"),
    ],
)
def test_limits_that_cannot_be_are_refused(events: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse_tree({"camera": "0", "events": events}, ServeConfig, "test")


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        ({"camera": "0", "events": NEAR}, r"events.person_near: is in metres: .* `geometry:`"),
        (
            {"cameras": {"a": "0", "b": "1"}, "events": SHORT, "geometries": {"a": {"height_m": 1, "hfov_deg": 60}}},
            r"events.road_short: is in metres: .* `geometries: \{b: ...\}`",
        ),
        (
            {"camera": "0", "events": SOON, "geometry": {"height_m": 1, "hfov_deg": 60}},
            "events.person_soon: needs the car's speed: write `gps: {}`",
        ),
    ],
)
def test_a_config_without_what_an_event_needs_is_refused(tree: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        check(parse_tree(tree, ServeConfig, "test"))


def test_a_config_with_all_of_them_is_good_and_goes_with_a_drive() -> None:
    tree = {
        "camera": "0",
        "geometry": {"height_m": 1.3, "hfov_deg": 60},
        "gps": {},
        "events": {**NEAR, **SOON, **LANE, **SHORT},
    }
    config = parse_tree(tree, ServeConfig, "test")
    check(config)
    assert "lane_departure" in settings_of(config)


# ------------------------------------------------------------------------------------------------- a street with truth


@pytest.fixture(scope="module")
def crossing() -> tuple[StreetScene, list[Prediction]]:
    """The street's own masks, through the steps, of some seconds in which someone crosses from 45 m on to 15 m ahead;
    with its own speed in the place of a GPS.
    """
    scene = StreetScene(1, (640, 360), STREET_HZ)
    cameras = [scene.camera(index) for index in STREET_FRAMES]
    pitch, height = (float(np.median([getattr(one, name) for one in cameras])) for name in ("pitch_deg", "height_m"))
    model = CameraModel(height_m=height, hfov_deg=cameras[0].hfov_deg, pitch_deg=pitch)
    steps, results = Steps([Instances(CAMVID), Tracks(), Metres(model, CAMVID)]), []
    for index in STREET_FRAMES:
        drawn, at_ns = scene.render(index), round(index * 1e9 / STREET_HZ)
        frame = Frame(index=index, captured_ns=at_ns, source="street", bgr=drawn.image, media_ns=at_ns)
        frame.fix = Fix(52.5, 13.4, speed_m_s=scene.speed_m_s(index))
        box = Letterbox.fit(frame.size_wh, frame.size_wh)
        results.append(steps.update(Prediction(frame, {"semantic": drawn.classes}, box, CAMVID, at_ns)))
    return scene, results


def true_distance(scene: StreetScene, index: int) -> float:
    return next(one.ahead_m for one in scene.places(index) if one.instance == CROSSING)


@pytest.mark.slow
def test_someone_who_crosses_a_rendered_street_is_an_event_where_the_street_has_them_near(
    crossing: tuple[StreetScene, list[Prediction]],
) -> None:
    scene, results = crossing
    near = {"begin": 25.0, "end": 28.0}
    watcher = Watcher(EventOptions.model_validate({**QUIET, "person_near": near}), CAMVID, None)
    events = [event for result in results for event in watcher.look(result)]
    begun, ended = ([event for event in events if event.active is active] for active in (True, False))
    first = next(index for index in STREET_FRAMES if true_distance(scene, index) <= near["begin"])
    assert first < begun[0].frame <= first + 4  # two frames of it are hold_s; a car stands before their feet first
    for event in begun:
        truth_m = true_distance(scene, event.frame)
        assert event.value == pytest.approx(truth_m, rel=0.06)
        assert event.facts["time_s"] == pytest.approx(truth_m / scene.speed_m_s(event.frame), rel=0.06)
    # Hidden for a moment, they got another track; that one ends on the pavement.
    assert [event.facts["track_id"] for event in ended] == [begun[-1].facts["track_id"]]
    assert 12.5 < true_distance(scene, ended[0].frame - 2) < 13.5


@pytest.mark.slow
def test_the_road_ends_where_the_car_before_stands(crossing: tuple[StreetScene, list[Prediction]]) -> None:
    _, results = crossing
    watcher = Watcher(EventOptions.model_validate({**QUIET, "road_short": {"begin": 16.5, "end": 20.0}}), CAMVID, None)
    events = [event for result in results for event in watcher.look(result)]
    assert [event.active for event in events] == [True]
