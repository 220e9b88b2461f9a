"""The command `vectordbbench vecstore`."""

# No `from __future__ import annotations`: click reads the annotations as they are.

from typing import Annotated, Any, Unpack

import click
from vectordb_bench.backend.clients import DB
from vectordb_bench.cli.cli import (
    CommonTypedDict,
    cli,
    click_parameter_decorators_from_typed_dict,
    run,
)


class VecstoreTypedDict(CommonTypedDict):  # type: ignore[misc]
    """The options beside those that every client has."""

    path: Annotated[
        str | None, click.option("--path", type=str, help="folder of an embedded database")
    ]
    address: Annotated[
        str | None, click.option("--address", type=str, help="host:port of `vecstore serve`")
    ]
    threads: Annotated[
        int,
        click.option("--threads", type=int, default=1, help="that one search uses, embedded"),
    ]
    ladder: Annotated[
        str,
        click.option("--ladder", type=str, default="", help='representations: "bits2 float16"'),
    ]
    keep: Annotated[
        int,
        click.option("--keep", type=int, default=0, help="rows kept for each hit; 0: by default"),
    ]
    exact: Annotated[
        bool,
        click.option("--exact", is_flag=True, default=False, help="score every row exactly"),
    ]


@cli.command()
@click_parameter_decorators_from_typed_dict(VecstoreTypedDict)
def Vecstore(**parameters: Unpack[VecstoreTypedDict]) -> None:  # noqa: N802
    """Run vecstore, embedded or on a server."""
    from .config import VecstoreCaseConfig, VecstoreConfig

    known: dict[str, Any] = dict(parameters)
    run(
        db=DB.Vecstore,
        db_config=VecstoreConfig(
            db_label=known["db_label"],
            path=known["path"],
            address=known["address"],
            threads=known["threads"],
        ),
        db_case_config=VecstoreCaseConfig(
            ladder=known["ladder"], keep=known["keep"], exact=known["exact"]
        ),
        **known,
    )
