"""Names of files: made and parsed in one place."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vecstore.errors import CorruptionError
from vecstore.storage.paths import (
    Paths,
    codes_component,
    column_component,
    component_path,
    is_temporary,
    parse_id,
    presence_component,
    strangers,
    tokens_component,
)

IDS = st.integers(0, 2**64 - 1)


@given(IDS, IDS)
def test_ids_sort_as_their_names(a: int, b: int) -> None:
    """Names of ids parse back and sort as the ids do."""
    paths = Paths(Path("root"))
    names = [paths.segment(a).name, paths.segment(b).name]
    assert [parse_id(name) for name in names] == [a, b]
    assert (names[0] < names[1]) == (a < b)


def test_places() -> None:
    """Everything lies below the root, and temporary names are told from final ones."""
    paths = Paths(Path("root"))
    assert paths.segment(255) == Path("root/segments/00000000000000ff")
    assert paths.codec(1) == Path("root/codecs/0000000000000001")
    assert is_temporary(paths.segment_temporary(7).name)
    assert is_temporary(paths.codec_temporary(7).name)
    assert not is_temporary(paths.segment(7).name)
    assert parse_id(paths.segment_temporary(7).name) is None


@pytest.mark.parametrize("name", ["", "ff", "../0000000000000000", "0000000000000000.", "x" * 16])
def test_other_names_are_no_ids(name: str) -> None:
    """A name that this module did not make is no id and not temporary."""
    assert parse_id(name) is None
    assert not is_temporary(name)


def test_component_names() -> None:
    """Only names of the fixed grammar name a component."""
    for name in (
        column_component(255),
        presence_component(0),
        tokens_component(7),
        codes_component(63, 15),
        "rows",
    ):
        assert component_path(Path("folder"), name) == Path("folder") / name
    for name in ("", ".", "..", "../rows", "column-x", "codes-1", "rows/", "rows\n"):
        with pytest.raises(CorruptionError, match="name of the format"):
            component_path(Path("folder"), name)


def test_strangers() -> None:
    """Names that no database has are found."""
    assert strangers(["data.mdb", "lock.mdb", "segments", "codecs", "writer.lock"]) == []
    assert strangers(["data.mdb", "thesis.doc"]) == ["thesis.doc"]
