"""The receiver: takes a message at `POST /process` and pretends to write it to a database.

Input: a JSON object with `request_id`. Output: `{"status": "processed", …}`, or 500 on purpose (`ERROR_RATE`).
"""

import time

from flask import Flask, jsonify, request
from opentelemetry import metrics, trace
from opentelemetry.trace import SpanKind

from demo_app import web
from demo_app.settings import Settings
from demo_app.telemetry import VERSION

DATABASE = {"db.system.name": "postgresql", "db.operation.name": "INSERT", "db.collection.name": "messages"}


class Database:
    """Takes its time and keeps nothing."""

    def __init__(self, processing_time_ms: float):
        self.processing_time_ms = processing_time_ms
        self.tracer = trace.get_tracer("demo_app", VERSION)
        self.durations = metrics.get_meter("demo_app", VERSION).create_histogram(
            "db.client.operation.duration", "s", "Duration of database operations."
        )

    def insert(self) -> float:
        """Returns the milliseconds that it took."""
        started = time.perf_counter()
        with self.tracer.start_as_current_span("INSERT messages", kind=SpanKind.CLIENT, attributes=DATABASE):
            web.wait_ms(self.processing_time_ms)
            duration_s = time.perf_counter() - started
            self.durations.record(duration_s, DATABASE)
        return duration_s * 1000


def create(settings: Settings) -> Flask:
    app = web.create(settings)
    database = Database(settings.processing_time_ms)

    @app.post("/process")
    def process():
        body = request.get_json(silent=True)
        if not isinstance(body, dict):
            return jsonify(error="the body has to be a JSON object"), 400
        fields = {"request_id": str(body.get("request_id", ""))}
        web.wait_ms(settings.latency_ms)
        if web.is_to_fail(settings.error_rate):
            web.log.error("processing failed on purpose", extra={"fields": fields})
            return jsonify(error="failed on purpose", **fields), 500
        duration_ms = database.insert()
        web.log.info("message processed", extra={"fields": fields | {"duration_ms": round(duration_ms, 3)}})
        return jsonify(status="processed", duration_ms=round(duration_ms, 3), **fields)

    return app
