from __future__ import annotations

from collections.abc import Iterator

import pytest
from container import Container, NoContainer, why_no_container


@pytest.fixture(scope="session")
def container() -> Iterator[Container]:
    """A machine of its own, for all tests; what each needs on it, it installs."""
    if why_no_container():
        pytest.skip(why_no_container())
    try:
        container = Container()
    except NoContainer as error:
        pytest.skip(f"no container comes up here: {error}")
    with container:
        yield container
