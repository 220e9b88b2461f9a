"""The public face of the package: its names, and what importing it costs."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from types import ModuleType

import vecstore

IMPORT_SECONDS_MAX = 0.2


def test_all_lists_the_public_names_in_order() -> None:
    """`vecstore.__all__` is sorted and holds each of our functions and classes that one sees."""
    listed = list(vecstore.__all__)
    visible = {
        name
        for name, value in vars(vecstore).items()
        if not name.startswith("_") and getattr(value, "__module__", "").startswith("vecstore")
    }
    modules = {name for name in listed if isinstance(getattr(vecstore, name), ModuleType)}
    assert listed == sorted(listed)
    assert set(listed) - modules == visible


def test_import_loads_numpy_only() -> None:
    """`import vecstore` loads no package but itself, numpy and the standard library."""
    loaded = json.loads(
        _run(
            "import sys, json, numpy; before = set(sys.modules); import vecstore;"
            "print(json.dumps(sorted({name.split('.')[0] for name in set(sys.modules) - before})))"
        )
    )
    assert set(loaded) - sys.stdlib_module_names - {"numpy"} == {"vecstore"}


def test_import_does_not_load_the_engine() -> None:
    """`import vecstore` loads neither LMDB, the parser, the kernels nor the network."""
    heavy = ("lmdb", "lark", "msgspec", "grpc", "vecstore.database", "vecstore.kernels")
    loaded = json.loads(_run("import sys, json, vecstore; print(json.dumps(list(sys.modules)))"))
    assert [name for name in heavy if name in loaded] == []


def test_import_is_quick() -> None:
    """`import vecstore` takes at most 0.2 s beyond numpy, in the median of three processes."""
    seconds = [
        float(
            _run(
                "import numpy, time; start = time.perf_counter(); import vecstore;"
                "print(time.perf_counter() - start)"
            )
        )
        for _ in range(3)
    ]
    assert statistics.median(seconds) <= IMPORT_SECONDS_MAX


def _run(code: str) -> str:
    """What a new interpreter prints for the code."""
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, text=True
    ).stdout
