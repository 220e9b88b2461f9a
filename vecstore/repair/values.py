"""Repair what LMDB holds of no collection in particular: order, numbers, trained codecs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec

from vecstore.errors import CorruptionError, FormatVersionError
from vecstore.repair.report import Findings
from vecstore.segment.catalog import CodecInfo
from vecstore.segment.codecs import KIND, put_info
from vecstore.segment.environment import Environment
from vecstore.segment.format import Component
from vecstore.segment.layout import CRC, Arrays
from vecstore.segment.manifest import (
    ComponentInfo,
    FieldInfo,
    Manifest,
    RepresentationInfo,
    SegmentInfo,
    from_bytes,
)
from vecstore.segment.meta import put_identity
from vecstore.segment.stream import write_component
from vecstore.storage import keys
from vecstore.storage import paths as names
from vecstore.storage.paths import parse_id


def repair_order(environment: Environment, findings: Findings) -> list[str]:
    """Bring keys into order, and turn back flipped bits of keys.

    Returns:
        What is wrong with pages otherwise: then nothing may be written.
    """
    kv = environment.kv
    with kv.read() as txn:
        found = kv.damaged_pages()
        trees = {item.tree for item in found}
        if any(not item.order for item in found) or not trees <= set(keys.DATABASES):
            return [f"{item.text}; restore a snapshot" for item in found]
        damaged = {db for db in keys.DATABASES for _, value in txn.entries(db) if value is None}
    for db in keys.DATABASES:
        if db in trees | damaged:
            with environment.writing() as txn:
                if db in trees:
                    txn.rewrite(db)
                count = txn.mend_keys(db)
            if db in trees:
                findings.made(f"the order of the keys in {db!r}")
            if count:
                findings.made(f"{count} keys in {db!r}, each with a flipped bit")
    return []


def repair_numbers(environment: Environment, findings: Findings) -> None:
    """Make damaged counters again, so that nothing is given out twice, and the identity."""
    paths, files = environment.paths, environment.files
    with environment.kv.read() as txn:
        damaged = [key for key, value in txn.entries(keys.META) if value is None]
        jobs = [key for key, value in txn.entries(keys.JOBS) if value is None]
        recalls = [key for key, value in txn.entries(keys.RECALLS) if value is None]
        collections = map(keys.parse_collection_key, txn.keys(keys.MANIFESTS))
        codecs = map(keys.parse_codec_key, txn.keys(keys.CODECS))
        used: dict[bytes, Iterable[int]] = {
            keys.NEXT_COLLECTION: list(collections),
            keys.NEXT_SEGMENT: _numbers(files.list_dir(paths.segments)),
            keys.NEXT_CODEC: [*codecs, *_numbers(files.list_dir(paths.codecs))],
        }
    if not damaged and not jobs and not recalls:
        return
    with environment.writing() as txn:
        for key in damaged:
            if key in used:
                txn.put(keys.META, key, keys.pack_number(max(used[key], default=0) + 1))
                findings.made(f"the counter {key.decode()!r}")
            elif key == keys.IDENTITY:
                put_identity(txn)
                findings.made("the identity, a new one: uploaded snapshots need a new place")
        for key in jobs:
            txn.delete(keys.JOBS, key)
            number = keys.parse_collection_key(key)
            findings.gone(f"what `alter` did to collection {number}: call it again")
        for key in recalls:
            txn.delete(keys.RECALLS, key)
            number = keys.parse_collection_key(key[:4])
            findings.gone(f"a recall of collection {number}: measure it again")


def _numbers(held: Iterable[str]) -> list[int]:
    found = (parse_id(name.partition(".")[0]) for name in held)
    return [number for number in found if number is not None]


class _Use(NamedTuple):
    """A representation in a segment that a trained codec wrote."""

    collection: int
    segment: SegmentInfo
    field: FieldInfo
    item: RepresentationInfo


def repair_codecs(
    environment: Environment, manifests: Iterable[tuple[int, Manifest]], findings: Findings
) -> None:
    """Make damaged entries and files of trained codecs again, from what segments hold.

    An entry that cannot be made again is removed; what the codec wrote cannot be read then.

    Args:
        environment: the database.
        manifests: every one, each with the collection that it belongs to.
        findings: takes what was done.
    """
    uses: dict[int, list[_Use]] = {}
    for use in _uses(manifests):
        uses.setdefault(use.item.codec, []).append(use)
    infos: dict[int, CodecInfo | None] = dict.fromkeys(uses)
    with environment.kv.read() as txn:
        for key, value in txn.entries(keys.CODECS):
            infos[keys.parse_codec_key(key)] = None if value is None else _decoded(value)
    for codec, info in infos.items():
        if info is not None and _file(environment, codec, info.file) is not None:
            continue
        made = _remade(environment, codec, info, uses.get(codec, []))
        with environment.writing() as txn:
            if made is None:
                txn.delete(keys.CODECS, keys.codec_key(codec))
            else:
                put_info(txn, made)
            number = txn.id
        if made is None:
            environment.reclaimer.retire_paths([environment.paths.codec(codec)], number)
        if made is not None:
            findings.made(f"trained codec {codec}")
        elif codec in uses:
            findings.gone(f"trained codec {codec}")


def _uses(manifests: Iterable[tuple[int, Manifest]]) -> Iterator[_Use]:
    for collection, manifest in manifests:
        for segment in manifest.segments:
            for field in segment.fields:
                for item in field.representations:
                    if item.codec:
                        yield _Use(collection, segment, field, item)


def _decoded(value: bytes) -> CodecInfo | None:
    try:
        return from_bytes(CodecInfo, value)
    except CorruptionError:
        return None


def _file(environment: Environment, codec: int, file: ComponentInfo | None) -> ComponentInfo | None:
    """What a codec's file is, None where it is damaged or another than it should be."""
    path = environment.paths.codec(codec)
    try:
        component = Component.open(environment.files, path, KIND, file)
    except (CorruptionError, FormatVersionError):
        return None
    if component.verify():
        return None
    own = environment.files.map(path)[-CRC.itemsize :].tobytes()
    return file or ComponentInfo(path.name, component.bytes, int.from_bytes(own, "little"))


def _remade(
    environment: Environment, codec: int, info: CodecInfo | None, uses: list[_Use]
) -> CodecInfo | None:
    """The entry of a codec whose entry or file is damaged; both are whole then, if it is there."""
    if not uses:
        return None
    file = _file(environment, codec, None) if info is None else None
    if file is None:
        params = next(filter(None, (_kept(environment, codec, use) for use in uses)), None)
        if params is None:
            return None
        file = _write(environment, codec, params)
    if info is not None:
        return msgspec.structs.replace(info, file=file)
    collection, _, field, item = uses[0]
    return CodecInfo(
        id=codec,
        collection=collection,
        field=field.name,
        spec=item.spec,
        dim=field.dim,
        metric=field.metric,
        rows=max(use.field.codes for use in uses),
        file=file,
    )


def _kept(environment: Environment, codec: int, use: _Use) -> Arrays | None:
    """The parameters of a codec as a segment that it wrote keeps them, too."""
    folder = environment.paths.segment(use.segment.id)
    prefix = f"codec/{codec}/"
    try:
        info = use.segment.component(names.SEGMENT)
        path = names.component_path(folder, names.SEGMENT)
        component = Component.open(environment.files, path, "segment", info)
        held = [name for name in component.arrays if name.startswith(prefix)]
        return {name.removeprefix(prefix): component.whole(name) for name in held}
    except (CorruptionError, FormatVersionError):
        return None


def _write(environment: Environment, codec: int, params: Arrays) -> ComponentInfo:
    """Write the file of a codec in place of a damaged one, in one step."""
    files, paths = environment.files, environment.paths
    temporary = paths.codec_temporary(codec)
    files.remove(temporary)
    with environment.guard():
        written = write_component(files, temporary, KIND, params)
        files.rename(temporary, paths.codec(codec))
        files.sync_dir(paths.codecs)
    return msgspec.structs.replace(written, name=paths.codec(codec).name)
