"""People on the road and in zones: who enters, who leaves, and who must not be counted twice."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from stand_in import PEDESTRIAN, ROAD, SKY, result_of

from edge.classes import CAMVID
from edge.config import parse_tree
from edge.errors import ConfigError
from edge.events import EventOptions, Watcher
from edge.frame import Image
from edge.grouping import Instances
from edge.prediction import Prediction
from edge.service.check import check
from edge.service.config import ServeConfig
from edge.sinks.events import EventSink
from edge.steps import Steps
from edge.tracking import Tracks
from edge.visits import Event

PAVEMENT, RATE_HZ = 4, 10
LEFT, RIGHT = ((0.0, 0.5), (0.5, 0.5), (0.5, 1.0), (0.0, 1.0)), ((0.5, 0.5), (1.0, 0.5), (1.0, 1.0), (0.5, 1.0))
CORNERS = [list(corner) for corner in LEFT]
QUIET = {"pedestrian_ahead": None, "road_gone": None, "out_of_domain": None}
ZONED = EventOptions.model_validate({**QUIET, "tracks": {"road": False, "zones": {"left": LEFT}}})
ON_ROAD = EventOptions.model_validate({**QUIET, "tracks": {"hold_s": 0}})
Where = Callable[[float], Sequence[tuple[int, int]]]  # by time in seconds: left and bottom of each person, in cells


def street(people: Sequence[tuple[int, int]]) -> Image:
    """uint8 (60, 80): sky above, pavement in the left half below, road in the right."""
    classes: Image = np.full((60, 80), SKY, np.uint8)
    classes[30:, :40], classes[30:, 40:] = PAVEMENT, ROAD
    for left, bottom in people:
        classes[bottom - 20 : bottom, left : left + 6] = PEDESTRIAN
    return classes


def result_at(index: int, people: Sequence[tuple[int, int]], skipped: int = 0) -> Prediction:
    at_ns = (index + skipped) * 10**9 // RATE_HZ
    image = np.zeros((120, 160, 3), np.uint8)
    return result_of(index + skipped, street(people), image=image, media_ns=at_ns, captured_ns=at_ns + 10**9)


def steps() -> Steps:
    return Steps([Instances(CAMVID), Tracks()])


def followed(where: Where, seconds: float, run: Steps | None = None) -> list[Prediction]:
    run = run or steps()
    return [run.update(result_at(i, where(i / RATE_HZ))) for i in range(round(seconds * RATE_HZ) + 1)]


def watched(results: Sequence[Prediction], options: EventOptions = ZONED) -> list[Event]:
    watcher = Watcher(options, CAMVID, None)
    return [event for result in results for event in watcher.look(result)]


def told(events: Sequence[Event]) -> list[tuple[object, ...]]:
    """Who, where, whether they entered, how long they were there, how many are there and were."""
    visits = [(event.active, event.visit) for event in events if event.visit is not None]
    return [(v.track_id, v.place, active, v.dwell_s, v.now, v.passed) for active, v in visits]


def walks(time_s: float) -> list[tuple[int, int]]:
    """From the left half to the right, at five cells a second: out of it from 1.6 s on, when the middle is at 40."""
    return [(29 + round(5 * time_s), 50)]


def test_who_enters_and_leaves_is_told_with_how_long_they_stayed() -> None:
    events = watched(followed(walks, 3))
    assert told(events) == [(1, "left", True, None, 1, 1), (1, "left", False, pytest.approx(1.7, abs=0.11), 0, 1)]
    assert [event.name for event in events] == ["in_zone", "in_zone"]
    assert json.loads(json.dumps(events[1].as_json()))["dwell_s"] == pytest.approx(events[1].value)


def test_two_people_are_counted_one_by_one() -> None:
    events = watched(followed(lambda t: [(5, 50), *([(25, 50)] if t > 1 else [])], 3))
    assert told(events) == [(1, "left", True, None, 1, 1), (2, "left", True, None, 2, 2)]


@pytest.mark.parametrize("away_s", [0.2, 0.6, 0.9])
def test_who_is_lost_for_up_to_a_second_and_found_again_gives_no_second_event(away_s: float) -> None:
    results = followed(lambda t: [] if 1 < t < 1 + away_s else [(10, 50)], 4)
    assert told(watched(results)) == [(1, "left", True, None, 1, 1)]


def test_who_is_gone_for_longer_has_left_when_they_were_seen_last() -> None:
    events = watched(followed(lambda t: [(10, 50)] if t < 1.05 or t > 5 else [], 6))
    assert told(events) == [
        (1, "left", True, None, 1, 1),
        (1, "left", False, 1.0, 0, 1),
        (2, "left", True, None, 1, 2),
    ]


def test_one_step_out_and_back_is_no_event_and_does_not_count_twice() -> None:
    quick = followed(lambda t: [(38, 50) if 1 < t < 1.25 else (36, 50)], 3)
    assert told(watched(quick)) == [(1, "left", True, None, 1, 1)]
    slow = followed(lambda t: [(38, 50) if 1 < t < 2 else (36, 50)], 4)
    assert [who[2:] for who in told(watched(slow))] == [
        (True, None, 1, 1),
        (False, pytest.approx(1.1), 0, 1),
        (True, None, 1, 1),
    ]


def test_the_road_is_where_the_mask_says_that_they_stand() -> None:
    def crosses(time_s: float) -> list[tuple[int, int]]:
        return [(20 + round(10 * time_s), 50)]

    events = watched(followed(crosses, 4), ON_ROAD)
    assert [(event.name, event.active, event.visit and event.visit.place) for event in events] == [
        ("on_road", True, "road")
    ]
    assert 1.5 < events[0].frame / RATE_HZ < 2.2  # its middle is over the kerb at 1.7 s


@pytest.mark.parametrize(
    "then",
    [
        lambda i: result_at(i, [(10, 50)], skipped=30),  # a gap of three seconds
        lambda i: result_at(i, [(10, 50)], skipped=-i),  # back to the beginning, or that of another source
        lambda i: result_at(i, [(10, 50)], skipped=-3),
    ],
    ids=["gap", "source", "seek"],
)
def test_a_reset_ends_what_was_open_with_the_last_frame(then: Callable[[int], Prediction]) -> None:
    run, watcher = steps(), Watcher(ZONED, CAMVID, None)
    events: list[Event] = []
    for index in range(10):
        events += watcher.look(run.update(result_at(index, [(10, 50)])))
    run.reset()
    events += watcher.look(run.update(then(10)))
    assert told(events) == [(1, "left", True, None, 1, 1), (1, "left", False, 0.9, 0, 1)]
    assert events[-1].frame == 9


def test_two_cameras_with_the_same_ids_do_not_mix_and_have_zones_of_their_own() -> None:
    cameras = {"front": {}, "rear": {"zones": {"right": RIGHT}}}
    options = EventOptions.model_validate(
        {**QUIET, "tracks": {"road": False, "zones": {"left": LEFT}}, "cameras": cameras}
    )
    watchers = {name: Watcher(options.of_camera(name), CAMVID, None) for name in cameras}
    runs, events = {name: steps() for name in cameras}, {name: list[Event]() for name in cameras}
    for index in range(20):
        for name, left in (("front", 10), ("rear", 60)):
            result = runs[name].update(result_at(index, [(left, 50)]))
            events[name] += watchers[name].look(result)
    assert told(events["front"]) == [(1, "left", True, None, 1, 1)]
    assert told(events["rear"]) == [(1, "right", True, None, 1, 1)]


def test_results_that_are_left_out_under_load_end_no_visit() -> None:
    results = followed(lambda t: [(10, 50)], 4)
    assert told(watched(results[::7])) == [(1, "left", True, None, 1, 1)]


def test_each_visit_is_in_the_log_and_goes_to_who_listens(caplog: pytest.LogCaptureFixture) -> None:
    heard: list[Event] = []
    sink = EventSink(Watcher(ZONED, CAMVID, None), [lambda event, _: heard.append(event)])
    with caplog.at_level("INFO"):
        for result in followed(walks, 3):
            sink.write(result, 0)
    assert [line.split(" at frame")[0] for line in caplog.messages] == [
        "pedestrian 1 entered left",
        "pedestrian 1 left after 1.8 s: left",
    ]
    assert caplog.messages[1].endswith("0 there now, 1 so far")
    assert [event.active for event in heard] == [True, False]
    assert sink.health.totals == {"pedestrian_left_passed": 1}
    assert sink.health.levels == {"pedestrian_left_now": 0}


def test_results_without_objects_are_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    assert watched([result_at(index, [(10, 50)]) for index in range(5)]) == []
    assert [line.split(".")[0] for line in caplog.messages] == ["events"]
    assert "instances: true" in caplog.text


BASE = {"camera": "/dev/video0", "web": {}}


def test_zones_are_read_as_a_config_has_them() -> None:
    tracks, cameras = {"zones": {"crossing": CORNERS}}, {"rear": {"zone": CORNERS, "zones": {"gate": CORNERS}}}
    config = parse_tree({**BASE, "events": {"tracks": tracks, "cameras": cameras}}, ServeConfig, "here")
    assert config.events is not None
    rear = config.events.of_camera("rear")
    assert rear.tracks is not None
    assert (rear.zone, rear.tracks.zones) == (LEFT, {"gate": LEFT})
    front = config.events.of_camera("front")
    assert front.tracks is not None
    assert (front.zone, front.tracks.zones) == (EventOptions().zone, {"crossing": LEFT})


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({**BASE, "events": {"tracks": {}}}, "events.tracks: .*instances: true"),
        ({**BASE, "instances": True, "events": {"cameras": {"rear": {}}}}, "events.cameras.rear"),
    ],
)
def test_a_service_that_could_not_tell_who_is_where_is_refused(config: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        check(parse_tree(config, ServeConfig, "here"))


@pytest.mark.parametrize(
    ("tracks", "said"),
    [
        ({"zones": {"road": CORNERS}}, "another name"),
        ({"zones": {"a b": CORNERS}}, "zones"),
        ({"zones": {"line": [[0, 0], [0.5, 0.5], [1, 1]]}}, "holds no pixel"),
        ({"zones": {"line": [[0, 0], [1, 1]]}}, "zones.line"),
        ({"groups": []}, "groups"),
        ({"groups": ["giraffe"]}, "groups"),
    ],
)
def test_zones_that_are_none_are_refused(tracks: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        parse_tree({**BASE, "events": {"tracks": tracks}}, ServeConfig, "here")
