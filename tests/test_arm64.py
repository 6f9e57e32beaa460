"""The comparison with emulated arm64: what is counted, and what is said before anything is started."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import arm64


def test_agreement_is_the_share_of_equal_pixels_over_all_frames_and_in_the_worst() -> None:
    ours = [np.array([[0, 1, 2, 3]], np.uint8), np.array([[4, 4, 4, 4]], np.uint8)]
    theirs = [np.array([[0, 1, 2, 9]], np.uint8), np.array([[4, 4, 4, 4]], np.uint8)]
    assert arm64.agreement(ours, theirs) == (0.875, 0.75)


def test_masks_that_are_missing_are_no_agreement() -> None:
    mask = np.zeros((2, 2), np.uint8)
    with pytest.raises(ValueError, match="got 2 and 1"):
        arm64.agreement([mask, mask], [mask])
    with pytest.raises(ValueError, match="got 0 and 0"):
        arm64.agreement([], [])


def test_missing_tools_are_named_by_the_package_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert arm64.missing_tools() == ["qemu-user-static", "debootstrap", "dpkg"]
    monkeypatch.setattr("sys.argv", ["arm64"])
    with pytest.raises(SystemExit, match=r"sudo apt-get install qemu-user-static debootstrap dpkg"):
        arm64.main()
