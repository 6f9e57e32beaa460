from __future__ import annotations

from collections.abc import Iterator

import pytest
from container import Container, NoContainer, why_no_container
from unit import install


@pytest.fixture(scope="session")
def container() -> Iterator[Container]:
    """A machine on which edge was just installed; for all tests, so each leaves it as it found it."""
    if why_no_container():
        pytest.skip(why_no_container())
    try:
        container = Container()
    except NoContainer as error:
        pytest.skip(f"no container comes up here: {error}")
    try:
        install(container)
        yield container
    finally:
        container.close()
