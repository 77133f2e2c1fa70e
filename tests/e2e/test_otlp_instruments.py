"""Every instrument of OpenTelemetry's own Python SDK: what PromQL returns is what the program recorded.

Three rounds are recorded and exported one after the other, cumulative and as deltas. What a delta series holds in all is
the sum over its samples; what a cumulative one holds is its last sample.
"""

import json
import math
import time

from harness import Server, ServerCase, wait_for
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.metrics import Observation
from opentelemetry.sdk.metrics import (
    AlwaysOnExemplarFilter,
    Counter,
    Histogram,
    MeterProvider,
    ObservableCounter,
    ObservableUpDownCounter,
    UpDownCounter,
)
from opentelemetry.sdk.metrics.export import AggregationTemporality, PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider

SUMMED = (Counter, UpDownCounter, Histogram, ObservableCounter, ObservableUpDownCounter)
ROUNDS = 3
SECONDS = (0.05, 0.5, 0.75, 5.0)
BOUNDS = [0.1, 1.0]
WINDOW = "[1h]"


def grpc_exporter(server: Server, temporality: AggregationTemporality) -> OTLPMetricExporter:
    endpoint = "http://" + server.addresses["otlp_grpc"]
    return OTLPMetricExporter(
        endpoint=endpoint, insecure=True, preferred_temporality=dict.fromkeys(SUMMED, temporality)
    )


class Program:
    """A program with every instrument; records and exports round by round."""

    def __init__(self, exporter, job: str):
        self.reader = PeriodicExportingMetricReader(exporter, export_interval_millis=3_600_000)
        native = View(instrument_name="*.native", aggregation=ExponentialBucketHistogramAggregation(max_size=160))
        self.provider = MeterProvider(
            metric_readers=[self.reader],
            resource=Resource.create({"service.name": job, "service.instance.id": "i1", "host.name": "h1"}),
            views=[native],
            exemplar_filter=AlwaysOnExemplarFilter(),
        )
        meter = self.provider.get_meter("e2e", "1.0")
        self.counter = meter.create_counter("requests", unit="{request}", description="Requests handled.")
        self.up_down = meter.create_up_down_counter("queue.length")
        self.explicit = meter.create_histogram(
            "latency.explicit", unit="s", explicit_bucket_boundaries_advisory=BOUNDS
        )
        self.native = meter.create_histogram("latency.native", unit="s")
        self.gauge = meter.create_gauge("pool.size", unit="By")
        self.observed = {"counter": 0, "up_down": 0, "gauge": 0.0}
        meter.create_observable_counter("pages.read", [lambda _: [Observation(self.observed["counter"])]])
        meter.create_observable_up_down_counter("pages.held", [lambda _: [Observation(self.observed["up_down"])]])
        meter.create_observable_gauge("temperature", [lambda _: [Observation(self.observed["gauge"])]], unit="Cel")
        self.trace_ids: set[str] = set()
        self.tracer = TracerProvider().get_tracer("e2e")

    def run(self) -> None:
        for number in range(1, ROUNDS + 1):
            with self.tracer.start_as_current_span("round") as span:
                self.trace_ids.add(f"{span.get_span_context().trace_id:032x}")
                self.record(number)
            self.provider.force_flush()
            # Samples have milliseconds: rounds must not end in the same one.
            ended = time.time_ns() // 1_000_000
            wait_for("the next millisecond", lambda: time.time_ns() // 1_000_000 > ended)
        self.provider.shutdown()

    def record(self, number: int) -> None:
        self.counter.add(10 * number, {"http.route": "/pay"})
        self.up_down.add(5 if number < ROUNDS else -7, {"queue": "a"})
        for seconds in SECONDS:
            self.explicit.record(seconds * number)
            self.native.record(seconds * number)
        self.gauge.set(4_096 * number)
        self.observed["counter"] += 100 * number
        self.observed["up_down"] += 3 - 2 * number
        self.observed["gauge"] = 20.5 + number


RECORDED = [seconds * number for number in range(1, ROUNDS + 1) for seconds in SECONDS]


class Instruments:
    """The same questions to every way of sending; `total` says what a series holds in all."""

    job = ""
    temporality = AggregationTemporality.CUMULATIVE
    marker = ""

    @classmethod
    def make_exporter(cls, server: Server):
        return grpc_exporter(server, cls.temporality)

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.program = Program(cls.make_exporter(cls.server), cls.job)
        cls.before_s = time.time()
        cls.program.run()
        wait_for("the last round", lambda: cls.server.instant(f'temperature_celsius{{job="{cls.job}"}} == 23.5'))

    def total(self, selector: str) -> float:
        raise NotImplementedError

    def holds(self, name: str, *matchers: str) -> float:
        return self.total("%s{%s}" % (name, ",".join([f'job="{self.job}"', *matchers])))

    def test_counters_hold_what_was_added(self) -> None:
        self.assertEqual(self.holds("requests_total", 'http_route="/pay"'), 60)
        self.assertEqual(self.holds("pages_read_total"), 600)

    def test_up_down_counters_hold_what_was_added(self) -> None:
        self.assertEqual(self.holds("queue_length", 'queue="a"'), 3)
        self.assertEqual(self.holds("pages_held"), -3)

    def test_gauges_hold_the_last_value_and_are_no_deltas(self) -> None:
        (size,) = self.server.instant(f'pool_size_bytes{{job="{self.job}"}}')
        self.assertEqual(float(size["value"][1]), 4_096 * ROUNDS)
        self.assertNotIn("__temporality__", size["metric"])
        self.assertEqual(self.server.value(f'temperature_celsius{{job="{self.job}"}}'), 20.5 + ROUNDS)

    def test_an_explicit_histogram_holds_every_observation(self) -> None:
        self.assertEqual(self.holds("latency_explicit_seconds_count"), len(RECORDED))
        self.assertAlmostEqual(self.holds("latency_explicit_seconds_sum"), sum(RECORDED))
        for bound in (*BOUNDS, math.inf):
            le = "+Inf" if math.isinf(bound) else f"{bound:g}"
            below = sum(value <= bound for value in RECORDED)
            self.assertEqual(self.holds("latency_explicit_seconds_bucket", f'le="{le}"'), below, le)

    def test_an_exponential_histogram_is_a_native_one_with_every_observation(self) -> None:
        selector = f'latency_native_seconds{{job="{self.job}"}}'
        whole = self.whole_histogram(selector)
        self.assertEqual(self.server.value(f"histogram_count({whole})"), len(RECORDED))
        self.assertAlmostEqual(self.server.value(f"histogram_sum({whole})"), sum(RECORDED))
        for bound in (0.1, 1.0, 4.0):
            share = sum(value <= bound for value in RECORDED) / len(RECORDED)
            self.assertAlmostEqual(self.server.value(f"histogram_fraction(-Inf, {bound}, {whole})"), share, delta=0.02)
        quantile = self.server.value(f"histogram_quantile(1, {whole})")
        self.assertAlmostEqual(quantile, max(RECORDED), delta=0.1 * max(RECORDED))

    def whole_histogram(self, selector: str) -> str:
        raise NotImplementedError

    def test_the_smallest_and_the_largest_observation_are_series(self) -> None:
        for kind in ("explicit", "native"):
            name = f"latency_{kind}_seconds"
            smallest = self.server.value(f'min_over_time({name}_min{{job="{self.job}"}}{WINDOW})')
            largest = self.server.value(f'max_over_time({name}_max{{job="{self.job}"}}{WINDOW})')
            self.assertEqual((smallest, largest), (min(RECORDED), max(RECORDED)), name)

    def test_exemplars_lead_to_the_traces(self) -> None:
        for name in ("requests_total", "latency_explicit_seconds_bucket", "latency_native_seconds"):
            found = self.server.api(
                "query_exemplars",
                query=f'{name}{{job="{self.job}"}}',
                start=self.before_s - 60,
                end=time.time() + 60,
            )
            traces = {one["labels"]["trace_id"] for series in found for one in series["exemplars"]}
            self.assertTrue(traces, name)
            self.assertLessEqual(traces, self.program.trace_ids, name)
            values = {float(one["value"]) for series in found for one in series["exemplars"]}
            recorded = {10.0, 20.0, 30.0} if name == "requests_total" else set(RECORDED)
            self.assertLessEqual(values, recorded, name)

    def test_deltas_and_only_deltas_are_marked(self) -> None:
        for name in ("requests_total", "pages_held", "latency_explicit_seconds_bucket", "latency_native_seconds"):
            for series in self.server.instant(f'{name}{{job="{self.job}"}}'):
                self.assertEqual(series["metric"].get("__temporality__", ""), self.marker, name)

    def test_metadata_says_kind_unit_and_help(self) -> None:
        status, body = self.server.request("GET", "/api/v1/metadata?metric=requests_total")
        self.assertEqual(status, 200, body)
        (found,) = json.loads(body)["data"]["requests_total"]
        self.assertEqual(found, {"type": "counter", "unit": "", "help": "Requests handled."})

    def test_the_resource_is_target_info(self) -> None:
        (series,) = self.server.instant(f'target_info{{job="{self.job}"}}')
        self.assertEqual(series["metric"]["host_name"], "h1")


class CumulativeOverGrpc(Instruments, ServerCase):
    job = "cumulative"

    def total(self, selector: str) -> float:
        return self.server.value(selector)

    def whole_histogram(self, selector: str) -> str:
        return selector


class DeltaOverGrpc(Instruments, ServerCase):
    job = "delta"
    temporality = AggregationTemporality.DELTA
    marker = "delta"

    def total(self, selector: str) -> float:
        return self.server.value(f"sum_over_time({selector}{WINDOW})")

    def whole_histogram(self, selector: str) -> str:
        return f"sum_over_time({selector}{WINDOW})"

    def test_increase_is_the_sum_of_the_deltas(self) -> None:
        self.assertEqual(self.server.value(f'increase(requests_total{{job="delta"}}{WINDOW})'), 60)
        self.assertEqual(self.server.value(f'increase(latency_explicit_seconds_count{{job="delta"}}{WINDOW})'), 12)
        native = f'histogram_count(increase(latency_native_seconds{{job="delta"}}{WINDOW}))'
        self.assertEqual(self.server.value(native), 12)
