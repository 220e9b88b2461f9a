"""Values survive the wire, and messages that lie are refused."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from vecstore import options
from vecstore.errors import (
    DimensionError,
    IdError,
    PayloadError,
    RequestError,
    SchemaError,
    VectorError,
)
from vecstore.reports import CollectionStats, Job, RepairReport, RepresentationStats, SnapshotInfo
from vecstore.request import Cascade, Probe, Rescore, Scan
from vecstore.schema import Column, Schema, Vector
from vecstore.types import Hits, Record, StageReport, TokenMatches
from vecstore_proto import convert, results, tensors, work
from vecstore_proto.v1 import common_pb2, plan_pb2

SCHEMA = Schema(
    vectors=(Vector("text", 384), Vector("pic", 3, "l2", ("bits1", "float16"))),
    columns=(
        *(Column(f"c.{kind}", kind) for kind in ("int", "float", "bool", "keyword", "timestamp")),
        *(Column(f"l-{kind}", f"list[{kind}]") for kind in ("int", "float", "bool", "keyword")),
    ),
)
NUMBERS = st.one_of(
    hnp.floating_dtypes(endianness="?"), hnp.integer_dtypes(endianness="?"), hnp.boolean_dtypes()
)
IDS = st.lists(
    st.one_of(st.integers(-(2**63), 2**63 - 1), st.text(st.characters(codec="utf-8"))), max_size=5
)


def tensor(array: Any) -> common_pb2.Tensor:
    """An array as a message."""
    message = common_pb2.Tensor()
    tensors.tensor_to_wire(np.asarray(array), message)
    return message


def field_vectors(field: str | None, values: object) -> common_pb2.FieldVectors:
    """Vectors of a field as a message."""
    message = common_pb2.FieldVectors()
    tensors.field_vectors_to_wire(field, values, message)
    return message


def read(message: Any) -> Any:
    """The message as its receiver sees it."""
    return type(message).FromString(message.SerializeToString())


@given(hnp.arrays(NUMBERS, hnp.array_shapes(min_dims=0, min_side=0)))
def test_tensors_survive(array: np.ndarray[Any, Any]) -> None:
    """An array of numbers comes back with its shape, values and type, little-endian."""
    found = tensors.tensor_from_wire(read(tensor(array)))
    assert found.dtype == array.dtype.newbyteorder("<")
    assert found.shape == array.shape
    assert found.tobytes() == array.astype(found.dtype).tobytes()


def test_tensors_in_any_memory_order_survive() -> None:
    """Arrays that are transposed or strided are sent as they read."""
    array = np.arange(24, dtype=np.float32).reshape(4, 6)
    for view in (array.T, array[::2, ::-1], np.asfortranarray(array)):
        np.testing.assert_array_equal(tensors.tensor_from_wire(tensor(view)), view)


@pytest.mark.parametrize("array", [["a"], [b"a"], [1j], [None], [2**70], [np.datetime64(0, "s")]])
def test_arrays_of_other_things_are_not_sent(array: Any) -> None:
    """Only numbers of at most 64 bits can be sent."""
    with pytest.raises(VectorError):
        tensor(array)


@pytest.mark.parametrize(
    ("data_type", "shape", "data"),
    [
        (common_pb2.DATA_TYPE_UNSPECIFIED, [1], b"\0"),
        (99, [1], b"\0"),
        (common_pb2.DATA_TYPE_FLOAT32, [2, 2], b"\0" * 15),
        (common_pb2.DATA_TYPE_FLOAT32, [2, 2], b"\0" * 17),
        (common_pb2.DATA_TYPE_FLOAT32, [2**32, 2**32], b""),
        (common_pb2.DATA_TYPE_FLOAT32, [0, 2**63], b""),
        (common_pb2.DATA_TYPE_FLOAT32, [], b""),
        (common_pb2.DATA_TYPE_INT8, [1] * 9, b"\0"),
    ],
)
def test_tensors_that_lie_are_refused(data_type: Any, shape: list[int], data: bytes) -> None:
    """A tensor whose bytes do not fit its shape and type is refused before it is read."""
    message = common_pb2.Tensor(data_type=data_type, shape=shape, data=data)
    with pytest.raises(VectorError):
        tensors.tensor_from_wire(message)


def test_records_that_lack_a_field_survive() -> None:
    """None stands for a record without the field, on both sides."""
    values = [None, [1, 2], None, [3, 4]]
    found = tensors.field_vectors_from_wire(read(field_vectors("f", values)), 4)
    assert isinstance(found, list)
    assert [None if row is None else row.tolist() for row in found] == values
    assert tensors.field_vectors_from_wire(read(field_vectors(None, [None])), 1) == [None]


@pytest.mark.parametrize("rows", [[0, 0], [1, 0], [0, 3], [0], [0, 1, 2]])
def test_rows_that_lie_are_refused(rows: list[int]) -> None:
    """Row numbers must ascend, lie within the batch, and have one vector each."""
    message = field_vectors("f", np.ones((2, 2)))
    message.rows.values.extend(rows)
    with pytest.raises((RequestError, DimensionError)):
        tensors.field_vectors_from_wire(message, 3)


def test_ragged_vectors_are_not_sent() -> None:
    """Vectors of different lengths cannot be a tensor."""
    with pytest.raises(DimensionError):
        field_vectors("f", [[1, 2], [3]])


@given(IDS)
def test_ids_survive(ids: list[int | str]) -> None:
    """Ids of one kind or both come back equal, in order."""
    found = convert.ids_from_wire(read(convert.ids_to_wire(ids)))
    assert found == ids
    assert [type(item) for item in found] == [type(item) for item in ids]


@pytest.mark.parametrize("id_", [True, np.bool_(1), 1.0, None, b"a", 2**63, "\ud800", (1,)])
def test_other_ids_are_not_sent(id_: Any) -> None:
    """Only ints of 64 bits and text are ids; NumPy's are taken as what they hold."""
    with pytest.raises(IdError):
        convert.ids_to_wire([id_])
    found = convert.ids_to_wire([np.int8(3), np.str_("a"), 4])
    assert convert.ids_from_wire(found) == [3, "a", 4]


def test_an_unset_id_is_refused() -> None:
    """A mixed list may not hold an id that is neither number nor text."""
    message = common_pb2.Ids(mixed=common_pb2.MixedIds(values=[common_pb2.Id()]))
    with pytest.raises(IdError):
        convert.ids_from_wire(message)


def test_payloads_survive() -> None:
    """Objects, raw JSON and None come back as objects."""
    texts = convert.payloads_to_wire([{"a": [1, None, "é"]}, b'{"b": 1}', None, {}])
    assert convert.payloads_from_wire(texts) == [{"a": [1, None, "é"]}, {"b": 1}, {}, {}]
    with pytest.raises(PayloadError):
        convert.payloads_to_wire([{"a": object()}])


def test_a_schema_survives() -> None:
    """A schema comes back equal, with every metric and column type."""
    assert convert.schema_from_wire(read(convert.schema_to_wire(SCHEMA))) == SCHEMA


def test_schemas_that_lie_are_refused() -> None:
    """A schema from the wire is checked like any other."""
    for change in (
        lambda message: message.vectors.clear(),
        lambda message: message.vectors[0].ClearField("metric"),
        lambda message: setattr(message.vectors[0], "dim", 0),
        lambda message: setattr(message.vectors[0], "name", "../x"),
        lambda message: message.columns[0].ClearField("type"),
    ):
        message = convert.schema_to_wire(SCHEMA)
        change(message)
        with pytest.raises(SchemaError):
            convert.schema_from_wire(message)


def test_a_plan_survives() -> None:
    """A plan comes back equal; one that cannot be is refused."""
    probe = Cascade((Probe("bits1", 20, 100),))
    assert convert.plan_from_wire(read(convert.plan_to_wire(probe))) == probe
    plan = Cascade((Scan("bits1", 1_000_000), Rescore("float16", 10)))
    message = convert.plan_to_wire(plan)
    assert convert.plan_from_wire(read(message)) == plan
    message.stages[0].scan.keep = options.KEEP_MAX + 1
    with pytest.raises(RequestError):
        convert.plan_from_wire(message)
    with pytest.raises(RequestError):
        convert.plan_from_wire(plan_pb2.Cascade(stages=[plan_pb2.Stage()]))


def test_stats_survive() -> None:
    """Stats come back equal."""
    representation = RepresentationStats(
        field="f",
        spec="pq16",
        vectors=3,
        bytes_total=2**40,
        bytes_per_vector=1.5,
        compression=0.1,
        usage_bits_min=7.5,
        usage_bits_mean=7.75,
    )
    stats = CollectionStats(
        records=1,
        buffered=2,
        deleted=3,
        segments=4,
        disk_bytes=2**41,
        representations=(representation,),
        buffer_bytes=2**42,
        quarantined=("block 7 is damaged",),
        jobs=(
            Job(id=1, kind="alter", collection="c", state="paused", done=1, total=2, message="é"),
            Job(id=9, kind="flush", collection="c", state="failed", done=0, total=0, message=""),
        ),
    )
    assert convert.stats_from_wire(read(convert.stats_to_wire(stats))) == stats


def test_reports_of_work_survive() -> None:
    """What a snapshot is and what a repair did come back equal."""
    moment = datetime(2026, 2, 28, 23, 59, 59, 999_999, UTC)
    made = SnapshotInfo(number=3, created_at=moment, files=7, bytes_total=2**43, bytes_new=0)
    assert work.snapshot_from_wire(map(read, work.snapshot_to_wire(made))) == made
    done = RepairReport(rebuilt=("a", "é"), remaining=("c",))
    assert work.repair_from_wire(map(read, work.repair_to_wire(done))) == done
    assert work.problems_from_wire(map(read, work.problems_to_wire([]))) == []


def test_how_long_records_live_survives() -> None:
    """Seconds come back for each record, None for those of the collection, or none at all."""
    for sent, found in (([0.0, 2.5], [None, 2.5]), ([], None)):
        message = common_pb2.Records(ids=convert.ids_to_wire([1, 2]), ttl_s=sent)
        (batch,) = convert.batch_from_wire([read(message)])
        assert batch.ttl_s == found
    for ttl_s in (None, 1e-6, 86_400):
        schema = Schema(vectors=(Vector("v", 3),), ttl_s=ttl_s)
        assert convert.schema_from_wire(read(convert.schema_to_wire(schema))) == schema


def test_fields_that_come_twice_are_refused() -> None:
    """Each field may come once, and an unnamed one only alone."""
    one, other = field_vectors("f", [[1]]), field_vectors(None, [[1]])
    for fields in ([one, one], [one, other], [other, other]):
        with pytest.raises(RequestError):
            convert.vectors_from_wire(fields, 1)
    assert convert.vectors_from_wire([], 1) is None
    assert isinstance(convert.vectors_from_wire([other], 1), np.ndarray)


@dataclass
class Loader:
    """Hits with everything, some of which lack a payload or a vector; few have no matches."""

    count: int
    payload: bytes

    def ids(self) -> list[int | str]:
        return [str(row) if row % 2 else row for row in range(self.count)]

    def raw_payloads(self) -> list[bytes]:
        return [self.payload if row % 3 else b"" for row in range(self.count)]

    def payloads(self) -> list[dict[str, Any]]:
        return convert.payloads_from_wire(self.raw_payloads())

    def vectors(self) -> list[dict[str, Any]]:
        vector = np.ones(2, np.float32)
        return [{"f": vector} if row % 2 else {"g": vector * 2} for row in range(self.count)]

    def matches(self) -> list[TokenMatches] | None:
        found = [TokenMatches(np.arange(3) + row, np.float32([row])) for row in range(self.count)]
        return found if self.count > 5 else None


REPORT = StageReport(
    stage="scan",
    representation="bits1",
    rows_in=9,
    rows_out=8,
    bytes_read=7,
    milliseconds=0.25,
    kernel="v3",
    threads=2,
)


def same(found: Hits, expected: Hits) -> None:
    """Two lists of hits are equal in everything."""
    assert found.ids.tolist() == expected.ids.tolist()
    assert found.scores.dtype == expected.scores.dtype
    assert found.scores.tolist() == expected.scores.tolist()
    assert (found.partial, found.explain) == (expected.partial, expected.explain)
    for mine, other in zip(found, expected, strict=True):
        assert (mine.id, mine.score, mine.payload) == (other.id, other.score, other.payload)
        assert mine.vectors.keys() == other.vectors.keys()
        for field, vector in mine.vectors.items():
            assert vector.tobytes() == other.vectors[field].tobytes()
            assert vector.flags.writeable
    assert str(found.matches) == str(expected.matches)


def hits(count: int, payload: bytes = b'{"a":1}', **keywords: Any) -> Hits:
    """Some hits."""
    return Hits(np.linspace(1, 0, count, dtype=np.float32), Loader(count, payload), **keywords)


def test_hits_survive() -> None:
    """Hits come back equal, also none, partial ones, and ones with reports and matches."""
    sent = [hits(0), hits(7, explain=(REPORT,)), hits(1, partial=True, explain=())]
    (part,) = results.hits_to_wire(sent)
    for mine, other in zip(results.hits_from_wire([read(part)]), sent, strict=True):
        same(mine, other)


def test_large_answers_come_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hits that one message cannot hold are cut between hits, and joined again."""
    monkeypatch.setattr(results, "PART_BYTES_MAX", 1_000)
    payload = b'{"a":"' + b"x" * 300 + b'"}'
    sent = [hits(5, payload), hits(0), hits(9, payload, partial=True), hits(1)]
    parts = [read(part) for part in results.hits_to_wire(sent)]
    assert len(parts) > 3
    assert all(part.ByteSize() < 3_000 for part in parts)
    for mine, other in zip(results.hits_from_wire(parts), sent, strict=True):
        same(mine, other)


def test_hits_are_read_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loader that can be cut is never asked for more hits than are read at a time."""
    monkeypatch.setattr(results, "READ_ROWS", 4)
    whole = hits(10)
    asked: list[int] = []

    class Part:
        def __init__(self, start: int, stop: int) -> None:
            asked.append(len(whole.loader.ids()[start:stop]))
            for name in ("ids", "raw_payloads", "payloads", "vectors", "matches"):
                values = getattr(whole.loader, name)()[start:stop]
                setattr(self, name, lambda values=values: values)

    class Loader:
        part = Part

    sent: Any = Hits(whole.scores, Loader(), explain=whole.explain)  # type: ignore[arg-type]
    (found,) = results.hits_from_wire(map(read, results.hits_to_wire([sent])))
    same(found, whole)
    assert asked == [4, 4, 2]


def test_records_survive(monkeypatch: pytest.MonkeyPatch) -> None:
    """Records come back at their places, in one part or several."""
    vector = np.arange(3, dtype=np.float32)
    sent = [
        None,
        Record("a", {"x": "y" * 400}, {"f": vector}),
        Record(1, {}),
        None,
        Record("b", {"x": "z" * 400}, {"g": vector}),
    ]
    for bytes_max, least in ((1 << 20, 1), (300, 3)):
        monkeypatch.setattr(results, "PART_BYTES_MAX", bytes_max)
        parts = [read(part) for part in results.records_to_wire(sent)]
        assert len(parts) >= least
        found = results.records_from_wire(parts, len(sent))
        for mine, other in zip(found, sent, strict=True):
            assert (mine is None) == (other is None)
            if mine is not None and other is not None:
                assert (mine.id, mine.payload) == (other.id, other.payload)
                assert {k: v.tolist() for k, v in mine.vectors.items()} == {
                    k: v.tolist() for k, v in other.vectors.items()
                }


@given(st.lists(st.integers(0, 50)), st.integers(1, 100))
def test_spans_cover_everything_once(sizes: list[int], bytes_max: int) -> None:
    """Runs follow each other, are as large as allowed, and hold more only as a single row."""
    found = list(results.spans(sizes, bytes_max))
    assert found[0][0] == 0
    assert found[-1][1] == len(sizes)
    assert all(before[1] == after[0] for before, after in itertools.pairwise(found))
    for start, stop in found:
        assert stop - start <= 1 or sum(sizes[start:stop]) <= bytes_max
        assert stop == len(sizes) or sum(sizes[start : stop + 1]) > bytes_max
