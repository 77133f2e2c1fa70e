"""What may be set, from the environment.

Input: environment variables (the table in README.md). Output: `Settings`, checked once.
Not here: the address to listen on, which is gunicorn's business (`gunicorn.conf.py`).
"""

import math
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass


class SettingsError(ValueError):
    """A variable has a value that makes no sense; the message names both."""


@dataclass(frozen=True)
class Settings:
    service_name: str
    """`service.name` of everything that is sent; the label `job` of the series."""
    tenant: str
    """Resource attribute `tenant.id` and header `X-Scope-OrgID`; empty = neither, so the server's default tenant."""
    otlp_endpoint: str
    """OTLP/gRPC; `http://` is plaintext, `https://` is TLS."""
    instance: str
    """`service.instance.id`: the pod's name in a cluster."""
    namespace: str
    """`k8s.namespace.name`; empty = unknown."""
    error_rate: float
    """Share of requests that fail on purpose, 0 to 1."""
    latency_ms: float
    """What a request waits before anything is done for it."""
    processing_time_ms: float
    """What the receiver's pretended database takes."""
    receiver_url: str
    """Where the sender sends to."""

    @classmethod
    def read(cls, default_service_name: str, environment: Mapping[str, str] = os.environ) -> "Settings":
        """Raises `SettingsError` for numbers that are none, negative or (`ERROR_RATE`) above 1."""
        return cls(
            service_name=environment.get("OTEL_SERVICE_NAME") or default_service_name,
            tenant=environment.get("TENANT_ID", ""),
            otlp_endpoint=otlp_endpoint(environment),
            instance=environment.get("POD_NAME") or f"{socket.gethostname()}-{os.getpid()}",
            namespace=environment.get("POD_NAMESPACE", ""),
            error_rate=number(environment, "ERROR_RATE", 0.0, at_most=1.0),
            latency_ms=number(environment, "LATENCY_MS", 0.0),
            processing_time_ms=number(environment, "PROCESSING_TIME_MS", 10.0),
            receiver_url=(environment.get("RECEIVER_SERVICE_URL") or "http://receiver-service:8001").rstrip("/"),
        )


def otlp_endpoint(environment: Mapping[str, str]) -> str:
    """The endpoint that is given, else the collector of the pod's own node, else one on this machine."""
    given = environment.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    if given:
        return given
    node = environment.get("NODE_IP") or "localhost"
    # An IPv6 address stands in brackets.
    host = f"[{node}]" if ":" in node else node
    return f"http://{host}:{environment.get('OTLP_PORT') or '4317'}"


def number(environment: Mapping[str, str], name: str, default: float, at_most: float = math.inf) -> float:
    text = environment.get(name)
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        raise SettingsError(f"{name} is {text!r}, which is no number") from None
    if not 0 <= value <= at_most or math.isinf(value):
        limit = "" if math.isinf(at_most) else f" and at most {at_most:g}"
        raise SettingsError(f"{name} is {text}; it has to be at least 0{limit}")
    return value
