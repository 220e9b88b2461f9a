"""A segment's folder, opened without the database that it is of."""

from __future__ import annotations

from pathlib import Path

from vecstore.codec import Codec, build_codec, parse_spec
from vecstore.errors import CorruptionError
from vecstore.segment.format import Component
from vecstore.segment.layout import Arrays
from vecstore.segment.manifest import FieldInfo, RepresentationInfo, SegmentInfo, from_bytes
from vecstore.segment.reader import Segment
from vecstore.storage import paths as names
from vecstore.storage.files import FileSystem


def open_segment(files: FileSystem, folder: Path) -> Segment:
    """Open a segment's folder alone, without its database.

    Raises:
        CorruptionError: it is no such folder, or damaged.
    """
    path = names.component_path(folder, names.SEGMENT)
    try:
        component = Component.open(files, path, "segment", None)
        info = from_bytes(SegmentInfo, component.whole("info").tobytes())
    except CorruptionError as error:
        error.folder = str(folder)
        raise

    def load(field: FieldInfo, item: RepresentationInfo) -> Codec:
        prefix = f"codec/{item.codec}/"
        params: Arrays = {
            name.removeprefix(prefix): component.whole(name)
            for name in component.arrays
            if item.codec and name.startswith(prefix)
        }
        spec = parse_spec(item.spec, field.dim)
        return build_codec(spec, field.dim, field.metric, params)

    return Segment(files, folder, info, load)
