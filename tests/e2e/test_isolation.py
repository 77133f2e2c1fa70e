"""Two tenants with marked data: no answer to one has a byte of the other's; tenant names that are paths are refused."""

import functools
import http.client
import json
import re
import socket
import threading
import time
import unittest
import urllib.parse

import grpc
import pyarrow as pa
import wire
from harness import Server, wait_for
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics_service
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2_grpc as metrics_grpc
from pyarrow import flight

NOW_MS = int(time.time() * 1000) - 1000
AHEAD_MS = NOW_MS + 86_400_000
TENANTS = {"team-a": "quokkamark", "team-b": "narwhalmark"}
ANY = '{__name__=~".+"}'
# Queries that take long enough to be seen while they run, and say whose they are.
SLOW = "quantile_over_time(0.3, quantile_over_time(0.3, quantile_over_time(0.3, ({mark}_written or vector(time()))[4h:1s])[4h:1s])[4h:1s])"

# Endpoints that must show a tenant its own mark: without this the test could not fail.
OWN = {
    "/api/v1/query", "/api/v1/query_range", "/api/v1/query_exemplars", "/api/v1/series", "/api/v1/labels",
    "/api/v1/label/{name}/values", "/api/v1/metadata", "/api/v1/status/tsdb",
    "/api/v1/status/rejected_points", "/api/v1/read", "/federate",
}  # fmt: skip
# They never end, or end the server.
NOT_ASKED = {"/api/v1/notifications/live", "/-/quit", "/api/v1/write"}

TRAVERSALS = [
    "..", ".", "../team-a", "..\\team-a", "/etc", "a/b", "a\\b", "%2e%2e%2f", "%2e%2e", "%252e%252e%252f", "..%2f",
    "..;/", "a%00b", "x" * 151, "x" * 8000, "té", "a b", "team-a|team-b", "team-a,team-b", "~", "$HOME", "a:b",
    "\uff0e\uff0e", "a\tb", '"', "{}", "",
]  # fmt: skip


def exemplar(mark: str) -> bytes:
    label = wire.field(1, wire.field(1, b"trace_id") + wire.field(2, f"{mark}-trace".encode()))
    return wire.field(3, label + b"\x11" + bytes(8) + b"\x18" + wire.varint(NOW_MS))


def remote_write(mark: str) -> bytes:
    labels = {"__name__": f"{mark}_written", f"{mark}_name": f"{mark}-value"}
    samples = wire.series(labels, [(NOW_MS, 1.0)])
    content = wire.fields(samples)[0][1] + exemplar(mark)
    histogram = wire.fields(wire.series({"__name__": f"{mark}_histogram"}, []))[0][1] + wire.histogram(
        NOW_MS, count_int=1, sum=1.0, schema=0, zero_threshold=0.0, positive_spans=[(0, 1)], positive_deltas=[1]
    )
    metadata = b"\x08\x01" + wire.field(2, f"{mark}_written".encode()) + wire.field(4, f"{mark} help".encode())
    return wire.snappy(wire.field(1, content) + wire.field(1, histogram) + wire.field(3, metadata))


def otlp_request(mark: str, time_ms: int) -> metrics_service.ExportMetricsServiceRequest:
    request = metrics_service.ExportMetricsServiceRequest()
    resource = request.resource_metrics.add()
    attribute = resource.resource.attributes.add(key="service.name")
    attribute.value.string_value = f"{mark}-service"
    metric = resource.scope_metrics.add().metrics.add(name=f"{mark}.exported", description=f"{mark} description")
    metric.gauge.data_points.add(time_unix_nano=time_ms * 1_000_000, as_double=1.0)
    return request


class Isolation(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.server = Server("--enable-lifecycle", "--query-timeout=60s")
        cls.channel = grpc.insecure_channel(cls.server.addresses["otlp_grpc"])
        cls.flight = flight.connect(cls.server.flight)
        for tenant, mark in TENANTS.items():
            cls.load(tenant, mark)

    @classmethod
    def tearDownClass(cls) -> None:
        cls.flight.close()
        cls.channel.close()
        cls.server.close()

    @classmethod
    def load(cls, tenant: str, mark: str) -> None:
        """Marked data over every protocol, and marked points that are refused."""
        headers = {"X-Scope-OrgID": tenant, "Content-Encoding": "snappy"}
        assert cls.server.request("POST", "/api/v1/write", remote_write(mark), headers)[0] == 204
        ahead = wire.request(wire.series({"__name__": f"{mark}_refused"}, [(AHEAD_MS, 1.0)]))
        assert cls.server.request("POST", "/api/v1/write", ahead, headers)[0] == 400
        cls.export(tenant, otlp_request(mark, NOW_MS))
        over_http = otlp_request(f"{mark}_http", NOW_MS).SerializeToString()
        connection = http.client.HTTPConnection(cls.server.addresses["otlp_http"], timeout=60)
        headers = {"X-Scope-OrgID": tenant, "Content-Type": "application/x-protobuf"}
        connection.request("POST", "/v1/metrics", over_http, headers)
        assert connection.getresponse().status == 200
        connection.close()
        cls.put(tenant, f"{mark}_put", NOW_MS)
        cls.put(tenant, f"{mark}_put_refused", AHEAD_MS)

    @classmethod
    def export(cls, tenant: str, request) -> None:
        stub = metrics_grpc.MetricsServiceStub(cls.channel)
        stub.Export(request, metadata=[("x-scope-orgid", tenant)], timeout=60)

    @classmethod
    def options(cls, tenant: str) -> flight.FlightCallOptions:
        return flight.FlightCallOptions(headers=[(b"x-scope-orgid", tenant.encode())])

    @classmethod
    def put(cls, tenant: str, metric: str, time_ms: int) -> None:
        table = pa.table({"metric": [metric], "timestamp": pa.array([time_ms], pa.timestamp("ms")), "value": [1.0],
                          "room": [f"{metric}-room"]})  # fmt: skip
        descriptor = flight.FlightDescriptor.for_path("samples")
        writer, reader = cls.flight.do_put(descriptor, table.schema, cls.options(tenant))
        writer.write_table(table)
        writer.done_writing()
        reader.read()
        writer.close()

    def ask(self, tenant: str, method: str, path: str) -> bytes:
        """The whole answer, headers included."""
        parameters = {
            "query": ANY, "match[]": ANY, "start": NOW_MS / 1000 - 60, "end": NOW_MS / 1000 + 60,
            "step": 15, "limit": 1000, "scrapePool": "x",
        }  # fmt: skip
        if path in ("/api/v1/query_exemplars",):
            parameters["query"] = f"{TENANTS[tenant]}_written or {self.other(tenant)}_written"
        if path == "/federate":
            parameters = {"match[]": ANY}
        path = path.replace("{name}", "__name__").replace("{id}", "0")
        headers = {"X-Scope-OrgID": tenant}
        body = b""
        if path == "/api/v1/read":
            body = b"".join(
                wire.read_request(NOW_MS - 60_000, NOW_MS + 60_000, f"{mark}_written", 0)
                for mark in [TENANTS[tenant]]
            )
            headers |= {"Content-Encoding": "snappy", "Content-Type": "application/x-protobuf"}
        elif method == "POST":
            body = urllib.parse.urlencode(parameters).encode()
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        else:
            path += "?" + urllib.parse.urlencode(parameters)
        connection = http.client.HTTPConnection(self.server.http, timeout=60)
        try:
            connection.request(method, path, body or None, headers)
            response = connection.getresponse()
            return str(response.getheaders()).encode() + response.read()
        finally:
            connection.close()

    def other(self, tenant: str) -> str:
        return next(mark for name, mark in TENANTS.items() if name != tenant)

    def endpoints(self) -> list[tuple[str, str]]:
        """Method and path of everything that is described."""
        found, path = [], ""
        for line in self.server.request("GET", "/api/v1/openapi.yaml")[1].splitlines():
            if match := re.fullmatch(r'  "(/.*)":', line):
                path = match[1]
            elif (match := re.fullmatch(r"    (get|post|put|delete):", line)) and path not in NOT_ASKED:
                if not path.endswith(("delete_series", "clean_tombstones")):
                    found.append((match[1].upper(), path))
        return found

    def test_no_endpoint_shows_a_tenant_what_is_the_others(self) -> None:
        endpoints = self.endpoints()
        self.assertGreater(len(endpoints), 40)
        for round_name in ("from memory", "from blocks"):
            for tenant, mark in TENANTS.items():
                own = set()
                for method, path in endpoints:
                    answer = self.ask(tenant, method, path)
                    self.assertNotIn(self.other(tenant).encode(), answer, f"{method} {path} as {tenant}")
                    if mark.encode() in answer:
                        own.add(path)
                # What is only about memory is there in the first round.
                expected = OWN if round_name == "from memory" else OWN - {"/api/v1/status/tsdb"}
                self.assertEqual(expected - own, set(), f"{tenant} sees too little of its own {round_name}")
            self.server.request("POST", "/api/v1/admin/tsdb/flush")

    def test_queries_that_run_are_seen_and_stopped_by_their_tenant_only(self) -> None:
        for tenant, mark in TENANTS.items():
            path = "/api/v1/query?" + urllib.parse.urlencode({"query": SLOW.format(mark=mark), "timeout": "50s"})
            call = functools.partial(self.server.request, "GET", path, headers={"X-Scope-OrgID": tenant})
            thread = threading.Thread(target=call)
            thread.start()
            wait_for("the query to run", lambda: mark.encode() in self.active(tenant))
            for stranger in TENANTS.keys() - {tenant}:
                self.assertNotIn(mark.encode(), self.active(stranger))
            query = json.loads(self.active(tenant).decode())["data"]["activeQueries"][0]["id"]
            cancel = f"/api/v1/status/active_queries/{query}"
            for stranger in TENANTS.keys() - {tenant}:
                self.assertEqual(self.server.request("DELETE", cancel, headers={"X-Scope-OrgID": stranger})[0], 404)
            self.assertEqual(self.server.request("DELETE", cancel, headers={"X-Scope-OrgID": tenant})[0], 204)
            thread.join()

    def active(self, tenant: str) -> bytes:
        path = "/api/v1/status/active_queries"
        return self.server.request("GET", path, headers={"X-Scope-OrgID": tenant})[1].encode()

    def test_no_flight_verb_shows_a_tenant_what_is_the_others(self) -> None:
        for tenant, mark in TENANTS.items():
            options = self.options(tenant)
            tickets = [
                # Without native histograms, which have no place in a column of values.
                {"promql": '{__name__=~".+_(written|put)"}', "start": NOW_MS / 1000 - 60, "end": NOW_MS / 1000 + 60,
                 "step": 15},
                {"table": "samples"},
                *({"table": f"{each}_put"} for each in TENANTS.values()),
            ]
            answers = []
            for ticket in tickets:
                try:
                    reader = self.flight.do_get(flight.Ticket(json.dumps(ticket).encode()), options)
                    table = reader.read_all()
                    answers.append(str(table.schema) + str(table.to_pylist()))
                except (flight.FlightError, pa.ArrowException) as error:
                    # A table that the tenant does not have; the message says only what was asked for.
                    answers.append(str(error).replace(json.dumps(ticket), "").replace(f"{self.other(tenant)}_put", ""))
            infos = self.flight.list_flights(b"", options)
            answers.append(str([str(info.descriptor) for info in infos]))
            for action in self.flight.list_actions():
                try:
                    answers.append(str([bytes(r.body) for r in self.flight.do_action((action.type, b""), options)]))
                except (flight.FlightError, pa.ArrowException) as error:
                    answers.append(str(error))  # it wants an argument
            shown = "\n".join(answers)
            self.assertIn(mark, shown)
            self.assertNotIn(self.other(tenant), shown)

    def test_a_delete_is_the_tenants_own(self) -> None:
        first, second = "delete-a", "delete-b"
        for tenant in (first, second):
            self.load(tenant, "deletable")
        form = urllib.parse.urlencode({"match[]": ANY}).encode()
        headers = {"Content-Type": "application/x-www-form-urlencoded", "X-Scope-OrgID": first}
        self.assertEqual(self.server.request("POST", "/api/v1/admin/tsdb/delete_series", form, headers)[0], 204)
        path = "/api/v1/query?" + urllib.parse.urlencode({"query": f"count({ANY})", "time": NOW_MS / 1000})
        counts = [
            json.loads(self.server.request("GET", path, headers={"X-Scope-OrgID": tenant})[1])["data"]["result"]
            for tenant in (first, second)
        ]
        self.assertEqual(counts[0], [])
        self.assertGreater(float(counts[1][0]["value"][1]), 3)

    def test_names_that_are_paths_or_worse_are_refused_by_every_protocol(self) -> None:
        outside = {path for path in self.server.folder.iterdir()}
        for name in TRAVERSALS:
            raw = name.encode()
            for request in ("GET /api/v1/labels", "POST /api/v1/write", "POST /api/v1/read", "GET /federate?match[]=up"):
                self.assertEqual(self.raw_status(request.encode(), raw), 400, (name, request))
            self.assertEqual(self.raw_status(b"POST /v1/metrics", raw, "otlp_http"), 400, name)
            if name.isascii() and name.isprintable():
                with self.assertRaises(grpc.RpcError, msg=name) as caught:
                    self.export(name, otlp_request("lost", NOW_MS))
                self.assertEqual(caught.exception.code(), grpc.StatusCode.INVALID_ARGUMENT, name)
                with self.assertRaises((flight.FlightError, pa.ArrowInvalid), msg=name):
                    self.put(name, "lost", NOW_MS)
        self.assertEqual({path for path in self.server.folder.iterdir()}, outside)
        made = {path.name for path in self.server.folder.rglob("*")}
        self.assertEqual(made & (set(TRAVERSALS) | {"etc", "lost"}), set(), "names of files")
        self.server.process.check_alive()

    def raw_status(self, request: bytes, tenant: bytes, to: str = "http") -> int:
        """The status of a request with any bytes in the header."""
        host, port = self.server.addresses[to].split(":")
        with socket.create_connection((host, int(port)), timeout=60) as connection:
            head = b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\nContent-Type: application/x-protobuf\r\nX-Scope-OrgID: "
            connection.sendall(request + head + tenant + b"\r\n\r\n")
            return int(connection.recv(4096).split(b" ")[1])
