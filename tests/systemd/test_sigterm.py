"""SIGTERM ends the service in good order, whatever it is at; how soon, benchmarks/service_faults.py measures."""

from __future__ import annotations

from pathlib import Path

import pytest
from states import STATES, State, opening_a_recording_that_gives_nothing

pytest.importorskip("uvicorn", reason="the live page needs the serve extra")
pytest.importorskip("paho", reason="MQTT needs the serve extra")


def test_sigterm_does_not_wait_for_a_source_that_is_being_opened(tmp_path: Path) -> None:
    with opening_a_recording_that_gives_nothing(tmp_path) as serving:
        code, took_s = serving.end()
    assert code == 0, serving.log
    assert took_s < 3  # LEAVE_S, which cameras have, is 4


@pytest.mark.parametrize("state", STATES, ids=[state.__name__ for state in STATES])
def test_sigterm_ends_it_while_it_is(state: State, tmp_path: Path) -> None:
    with state(tmp_path) as serving:
        code, _ = serving.end()
    assert code == 0, serving.log
    assert "Traceback" not in serving.log
    assert "Error" not in serving.log
