"""The asyncio client as a sync one, so that the same tests run on it."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable
from typing import Any, Self

from vecstore_client import aio


class Blocking:
    """Calls the methods of an asyncio database or collection, and waits for what they give."""

    def __init__(self, target: Any, runner: asyncio.Runner) -> None:
        self._target = target
        self._runner = runner

    @classmethod
    def connect(cls, address: str, **keywords: Any) -> Self:
        """Connect, with an event loop that is closed with the database."""
        runner = asyncio.Runner()
        try:
            return cls(runner.run(aio.connect(address, **keywords)), runner)
        except BaseException:
            runner.close()
            raise

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._target, name)
        return self._waiting(found) if callable(found) else found

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.run(self._target.close())
        self._runner.close()

    def _waiting(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **keywords: Any) -> Any:
            found = method(*arguments, **keywords)
            if isinstance(found, AsyncIterator):
                found = _all(found)
            assert inspect.iscoroutine(found)
            result = self._runner.run(found)
            made = isinstance(result, aio.AsyncCollection)
            return Blocking(result, self._runner) if made else result

        return call


async def _all(items: AsyncIterator[Any]) -> list[Any]:
    return [item async for item in items]
