"""The sender: takes a message at `POST /send` and hands it to the receiver.

Input: `{"request_id": …, "message": …, "data": …}`, each of them optional. Output: the receiver's answer, or an error:
500 on purpose (`ERROR_RATE`), 502 if the receiver failed, 504 if it did not answer in time.
"""

import time
import uuid

import urllib3
from flask import Flask, jsonify, request
from opentelemetry import metrics, propagate, trace
from opentelemetry.trace import SpanKind, Status, StatusCode

from demo_app import web
from demo_app.settings import Settings
from demo_app.telemetry import VERSION

RECEIVER_TIMEOUT_S = 10.0
CONNECTIONS_MAX = 32


class ReceiverError(Exception):
    """The receiver gave no good answer; `status` is what the sender's own client gets."""

    def __init__(self, status: int, reason: str):
        super().__init__(reason)
        self.status, self.reason = status, reason


class Receiver:
    """The other service, over connections that are kept."""

    def __init__(self, url: str):
        self.url = url
        self.pool = urllib3.PoolManager(maxsize=CONNECTIONS_MAX, block=False, retries=False, timeout=RECEIVER_TIMEOUT_S)
        self.tracer = trace.get_tracer("demo_app", VERSION)
        self.durations = metrics.get_meter("demo_app", VERSION).create_histogram(
            "http.client.request.duration", "s", "Duration of HTTP requests to the receiver."
        )

    def process(self, message: dict) -> dict:
        """Raises `ReceiverError`."""
        started = time.perf_counter()
        labels = {"http.request.method": "POST", "url.template": "/process"}
        with self.tracer.start_as_current_span("POST /process", kind=SpanKind.CLIENT, attributes=labels) as span:
            try:
                answer = self.post(message)
                labels["http.response.status_code"] = answer.status
            except urllib3.exceptions.HTTPError as error:
                labels["error.type"] = type(error).__name__
                # A connection that is refused counts as a time-out in urllib3.
                is_refused = isinstance(error, urllib3.exceptions.NewConnectionError)
                is_late = isinstance(error, urllib3.exceptions.TimeoutError) and not is_refused
                raise ReceiverError(504 if is_late else 502, f"receiver: {error}") from error
            finally:
                span.set_attributes(labels)
                self.durations.record(time.perf_counter() - started, labels)
            if answer.status != 200:
                span.set_status(Status(StatusCode.ERROR))
                raise ReceiverError(502, f"receiver answered {answer.status}")
            return answer.json()

    def post(self, message: dict) -> urllib3.BaseHTTPResponse:
        headers: dict[str, str] = {}
        propagate.inject(headers)
        return self.pool.request("POST", f"{self.url}/process", json=message, headers=headers)


def create(settings: Settings) -> Flask:
    app = web.create(settings)
    receiver = Receiver(settings.receiver_url)

    @app.post("/send")
    def send():
        body = request.get_json(silent=True)
        if not isinstance(body, dict):
            return jsonify(error="the body has to be a JSON object"), 400
        fields = {"request_id": str(body.get("request_id") or uuid.uuid4())}
        web.wait_ms(settings.latency_ms)
        if web.is_to_fail(settings.error_rate):
            web.log.error("request failed on purpose", extra={"fields": fields})
            return jsonify(error="failed on purpose", **fields), 500
        try:
            answer = receiver.process(body | fields)
        except ReceiverError as error:
            web.log.error("message not delivered: %s", error.reason, extra={"fields": fields})
            return jsonify(error=error.reason, **fields), error.status
        web.log.info("message delivered", extra={"fields": fields})
        return jsonify(status="sent", receiver=answer, **fields)

    return app
