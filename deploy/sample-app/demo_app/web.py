"""What both services share: a Flask application whose every request is a span, a count and a duration.

Input: `Settings`. Output: an application with `/health` and `/metrics`, to which a service adds its own routes.
Not here: the work of the services.

Every answer is counted exactly once in `http.requests`, also those to unknown paths.
"""

import logging
import random
import time

from flask import Flask, g, jsonify, request
from opentelemetry import context, metrics, propagate, trace
from opentelemetry.trace import SpanKind, Status, StatusCode

from demo_app.settings import Settings
from demo_app.telemetry import VERSION

REQUEST_BYTES_MAX = 64 * 1024
# Methods are a label, and clients may send any word as one.
KNOWN_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"}

log = logging.getLogger("demo_app")


def create(settings: Settings) -> Flask:
    app = Flask("demo_app", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = REQUEST_BYTES_MAX
    observe(app)

    @app.get("/health")
    def health():
        return jsonify(status="healthy", service=settings.service_name, tenant=settings.tenant)

    @app.get("/metrics")
    def metrics_info():
        return jsonify(
            service=settings.service_name,
            version=VERSION,
            tenant=settings.tenant,
            otlp_endpoint=settings.otlp_endpoint,
            note="metrics are sent over OTLP, not scraped",
        )

    return app


def observe(app: Flask) -> None:
    """Puts a server span around every request and counts it when it is answered."""
    tracer = trace.get_tracer("demo_app", VERSION)
    meter = metrics.get_meter("demo_app", VERSION)
    requests = meter.create_counter("http.requests", "{request}", "HTTP requests answered.")
    durations = meter.create_histogram("http.server.request.duration", "s", "Duration of HTTP requests served.")
    active = meter.create_up_down_counter("http.server.active_requests", "{request}", "HTTP requests in work.")

    @app.before_request
    def begin() -> None:
        g.started = time.perf_counter()
        # Unknown paths are one route together: paths are endless, series are not.
        g.route = request.url_rule.rule if request.url_rule else "unmatched"
        g.method = request.method if request.method in KNOWN_METHODS else "_OTHER"
        active.add(1, {"http.request.method": g.method})
        g.span = tracer.start_span(
            f"{g.method} {g.route}",
            context=propagate.extract(request.headers),
            kind=SpanKind.SERVER,
            attributes={"http.request.method": g.method, "http.route": g.route, "url.path": request.path},
        )
        g.token = context.attach(trace.set_span_in_context(g.span))

    @app.after_request
    def count(response):
        g.status = response.status_code
        return response

    @app.teardown_request
    def end(_error: BaseException | None) -> None:
        # What no handler caught is answered with 500 by Flask, without `after_request` if that failed.
        status = getattr(g, "status", 500)
        labels = {
            "http.request.method": g.method,
            "http.route": g.route,
            "http.response.status_code": status,
        }
        requests.add(1, labels)
        # Inside of the span, so that exemplars lead to its trace.
        durations.record(time.perf_counter() - g.started, labels)
        active.add(-1, {"http.request.method": g.method})
        g.span.set_attribute("http.response.status_code", status)
        if status >= 500:
            g.span.set_status(Status(StatusCode.ERROR))
        context.detach(g.token)
        g.span.end()


def wait_ms(duration_ms: float) -> None:
    """Pretends to work: the duration on the average, from half of it to one and a half."""
    if duration_ms:
        time.sleep(duration_ms * random.uniform(0.5, 1.5) / 1000)


def is_to_fail(error_rate: float) -> bool:
    return random.random() < error_rate
