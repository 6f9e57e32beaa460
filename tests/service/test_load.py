"""A camera that asks for more than the machine carries is known by the frames that it loses, not by a single moment."""

from __future__ import annotations

import pytest

from edge.service.load import Load

PERIOD_NS = 33_333_333


class Camera:
    """Counts as they come from a camera at 30 Hz of which each frame but one in `every` has a mask; 0: all have."""

    def __init__(self) -> None:
        self.load, self.now_ns, self.masks, self.dropped = Load(), 0, 0, 0
        self.changes: list[bool] = []

    def drive(self, seconds: float, every: int = 0) -> None:
        for number in range(round(seconds * 30)):
            self.now_ns += PERIOD_NS
            is_lost = every > 0 and number % every == 0
            self.masks, self.dropped = self.masks + (not is_lost), self.dropped + is_lost
            if self.load.update(self.masks, self.dropped, self.now_ns):
                self.changes.append(self.load.is_over)


@pytest.fixture
def camera() -> Camera:
    return Camera()


def test_frames_lost_for_long_are_overload_and_it_ends_when_none_are(camera: Camera) -> None:
    camera.drive(20, every=3)
    assert camera.load.is_over
    assert camera.load.dropped == pytest.approx(1 / 3, abs=0.02)
    assert camera.load.frames_hz == pytest.approx(30, rel=0.02)
    assert camera.load.masks_hz == pytest.approx(20, rel=0.02)
    camera.drive(20)
    assert not camera.load.is_over
    assert camera.changes == [True, False]


def test_a_moments_drops_are_none(camera: Camera) -> None:
    for _ in range(6):
        camera.drive(10)
        camera.drive(0.5, every=2)
    assert camera.changes == []


def test_a_share_between_the_limits_changes_nothing(camera: Camera) -> None:
    camera.drive(30, every=33)  # 3 %
    assert camera.changes == []
    camera.drive(20, every=3)
    camera.drive(30, every=33)
    assert camera.changes == [True]


def test_counts_that_begin_anew_with_another_run_are_not_taken_for_drops(camera: Camera) -> None:
    camera.drive(20, every=3)
    camera.masks = camera.dropped = 0
    camera.drive(12)
    assert camera.changes == [True, False]
    assert camera.load.dropped == 0


def test_a_camera_that_is_away_asks_for_nothing(camera: Camera) -> None:
    camera.drive(20, every=3)
    for _ in range(300):
        camera.now_ns += 100_000_000
        camera.load.update(camera.masks, camera.dropped, camera.now_ns)
    assert not camera.load.is_over
