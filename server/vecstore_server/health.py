"""The standard health check, which anyone may ask, also without a token.

Only `Check` is served, and it says how the whole server is: it reads no request, as a caller that
sends none would hold a thread for as long as it likes.
"""

from __future__ import annotations

from typing import Any

import grpc
from grpc_health.v1 import health_pb2

CHECK_METHOD = "/grpc.health.v1.Health/Check"


class Health:
    """Whether the server answers calls.

    Attributes:
        serving: True between start and stop.
    """

    def __init__(self) -> None:
        self.serving = False

    def handler(self) -> Any:
        """What a gRPC server serves it by."""
        check = grpc.stream_unary_rpc_method_handler(
            self._check, response_serializer=health_pb2.HealthCheckResponse.SerializeToString
        )
        service, method = CHECK_METHOD[1:].split("/")
        return grpc.method_handlers_generic_handler(service, {method: check})

    def _check(self, requests: Any, context: Any) -> Any:
        status = health_pb2.HealthCheckResponse
        return status(status=status.SERVING if self.serving else status.NOT_SERVING)
