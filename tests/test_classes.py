from __future__ import annotations

import numpy as np
import pytest

from edge.classes import CAMVID, ClassTable, make_table
from edge.errors import ConfigError

ROWS = [("Sky", (1, 2, 3)), ("Lane", (4, 5, 6)), ("Asphalt", (7, 8, 9))]
TABLE = make_table(ROWS, {"road": ["Asphalt", "Lane"], "nothing": []}, {"road": (10, 20, 30)}, ignore_id=200)


def test_camvid_has_road_at_3_pedestrian_at_9_and_ignores_11() -> None:
    assert len(CAMVID) == 11
    assert CAMVID.ids("Road") == CAMVID.ids("road") == (3,)
    assert CAMVID.ids("Pavement") == (4,)
    assert CAMVID.ids("pedestrian") == (9,)
    assert CAMVID.ignore_id == 11
    assert set(CAMVID.tints) <= set(CAMVID.groups)


def test_a_pedestrian_is_painted_over_the_road() -> None:
    tints = list(CAMVID.tints)
    assert tints.index("pedestrian") > tints.index("road")


def test_a_groups_ids_are_those_of_its_classes_in_its_own_order() -> None:
    assert TABLE.ids("road") == (2, 1)
    assert TABLE.ids("Asphalt") == (2,)
    assert TABLE.ids("nothing") == ()


def test_an_unknown_name_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(ConfigError, match=r"'Road'; groups: road, nothing; classes: Sky, Lane, Asphalt"):
        TABLE.ids("Road")


def test_membership_marks_every_id_of_the_group_and_no_other() -> None:
    table = TABLE.membership("road")
    assert table.shape == (256,)
    assert table.dtype == np.uint8
    assert np.flatnonzero(table).tolist() == [1, 2]
    assert not TABLE.membership("nothing").any()


def test_the_palette_is_black_for_ids_without_a_class() -> None:
    assert TABLE.palette_rgb[:4].tolist() == [[1, 2, 3], [4, 5, 6], [7, 8, 9], [0, 0, 0]]
    assert not TABLE.palette_rgb[3:].any()


def test_tables_of_equal_content_are_equal() -> None:
    assert make_table(ROWS, {"road": ["Asphalt", "Lane"], "nothing": []}, {"road": (10, 20, 30)}, 200) == TABLE
    assert TABLE != CAMVID


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"names": ()}, "1 to 255 distinct names"),
        ({"names": ("Sky", "Sky", "Lane")}, "1 to 255 distinct names"),
        ({"names": tuple(map(str, range(256)))}, "1 to 255 distinct names"),
        ({"colours_rgb": ((1, 2, 3),)}, "colours: expected 3, one per class, got 1"),
        ({"groups": {"road": ("Asfalt",)}}, "group 'road': no class is called 'Asfalt'"),
        ({"tints": {"rode": (1, 2, 3)}}, "tint 'rode': no such group"),
    ],
)
def test_a_table_that_contradicts_itself_is_refused(change: dict, message: str) -> None:
    whole = {
        "names": TABLE.names,
        "colours_rgb": TABLE.colours_rgb,
        "groups": TABLE.groups,
        "tints": TABLE.tints,
        "ignore_id": 200,
    }
    with pytest.raises(ConfigError, match=message):
        ClassTable(**{**whole, **change})
