"""The codecs that a collection has now, for those who encode elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vecstore import options
from vecstore.codec import parse_spec
from vecstore.errors import CodecError, NotFoundError
from vecstore.ingest.coded import FieldCodec, check_takes_codes
from vecstore.schema import Schema, Vector
from vecstore.segment.base import StoredCodec
from vecstore.segment.codecs import codecs_of
from vecstore.segment.pinning import reading
from vecstore.segment.rows import Rows
from vecstore.storage import keys
from vecstore.storage.kv import Txn

if TYPE_CHECKING:
    from vecstore.ingest.store import CollectionStore


def current_codecs(store: CollectionStore, vector: Vector, spec: str) -> list[StoredCodec]:
    """The codecs of a representation, newest last; none where it is not trained yet."""
    if not parse_spec(spec, vector.dim).trained:
        return [store.shelf.stored(vector.name, spec, 0)]
    environment = store.environment
    # No file goes meanwhile, of this process or another; and nobody waits for one that is read.
    with environment.reclaimer.hold(), reading(environment.pins):
        with environment.kv.read() as txn:
            infos = codecs_of(txn, store.shelf.collection)
        mine = [info.id for info in infos if (info.field, info.spec) == (vector.name, spec)]
        return [store.shelf.stored(vector.name, spec, codec) for codec in mine]


def field_codec(store: CollectionStore, field: str, spec: str | None) -> FieldCodec:
    """The newest codec of a representation of a field; `spec` None: of the finest.

    Raises:
        NotFoundError: no such field or representation, or it is not trained yet.
        CodecError: it is a multivector field, which takes no codes.
    """
    vector = store.info.schema.vector(field)
    check_takes_codes(vector)
    wanted = vector.representation(spec)
    codecs = current_codecs(store, vector, wanted)
    if not codecs:
        raise NotFoundError(
            f"no codec of {wanted!r} of vector field {field!r} yet, as it learns from vectors; "
            f"upsert vectors, at best {options.TRAINING_ROWS_MAX:,} or more, and flush(), which "
            "trains it"
        )
    found = codecs[-1]
    return FieldCodec(
        field=field, spec=wanted, dim=vector.dim, metric=vector.metric, params=found.params
    )


def check_current(txn: Txn, rows: Rows, schema: Schema) -> None:
    """Raise CodecError where codes were checked, and the field has another codec by now."""
    for name, encoding in rows.encodings.items():
        finest = schema.vector(name).representations[-1]
        if encoding is None:
            continue
        gone = encoding.codec and not txn.has(keys.CODECS, keys.codec_key(encoding.codec))
        if encoding.spec != finest or gone:
            raise CodecError(
                f"codes for field {name!r} are of a codec of {encoding.spec!r} that was dropped "
                f"meanwhile; get the one of {finest!r} with collection.codec({name!r}) and "
                "encode again"
            )
