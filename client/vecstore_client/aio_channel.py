"""The connection that asyncio clients share; see `channel` for the sync one."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, TypeVar

import grpc

from vecstore_client.calls import Call, Work
from vecstore_client.channel import CHANNEL_OPTIONS, Target, methods
from vecstore_proto.status import AnswerTooLarge

Answer = TypeVar("Answer")


class AsyncConnection(Target):
    """A channel to a server, used from one event loop."""

    def __init__(self, address: str, *, token: str | None, timeout_s: float) -> None:
        super().__init__(address, token, timeout_s)
        self._channel = grpc.aio.insecure_channel(self.address, options=CHANNEL_OPTIONS)
        self._methods = methods(self._channel)

    async def run(self, call: Call[Answer], timeout_s: float | None = None) -> Answer:
        """Make a call and read its answer; errors are those of the embedded database."""
        try:
            sent = self._start(call.method, call.request, timeout_s or self.time_for(call))
            return call.read([await self._finish(sent, call.method)])
        except AnswerTooLarge:
            assert call.stream is not None
            answers = self._receive(*call.stream, self.timeout_s)
            async with aclosing(answers):
                return call.read([answer.part async for answer in answers])

    async def follow(self, work: Work[Answer]) -> Answer:
        """Have work done, and tell how far it has come; where that raises, the work ends."""
        answers = self._receive(work.method, work.request, None)
        async with aclosing(answers):
            reports = [report async for answer in answers for report in work.reports(answer)]
        return work.read(reports)

    async def close(self) -> None:
        """Drop the connection; calls that are running fail."""
        self.closed = True
        await self._channel.close()

    def _start(self, method: str, request: Any, timeout_s: float | None) -> Any:
        self.check_open()
        return self._methods[method](request, timeout=timeout_s, metadata=self.metadata)

    async def _finish(self, sent: Any, method: str) -> Any:
        try:
            return await sent
        except grpc.RpcError as error:
            raise self.error(error, method) from None

    async def _receive(
        self, method: str, request: Any, timeout_s: float | None
    ) -> AsyncGenerator[Any, None]:
        """The messages of an answer; when it is closed, the call is given up."""
        sent = self._start(method, request, timeout_s)
        try:
            async for answer in sent:
                yield answer
        except grpc.RpcError as error:
            raise self.error(error, method) from None
        finally:
            sent.cancel()
