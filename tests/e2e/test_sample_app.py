"""The sample app in two tenants under Locust: every request is counted once, in its own tenant, as metric, span and log.

SAMPLE_APP_SECONDS says how long Locust runs; without it, until every sender has had some messages.
"""

import json
import os
import sys
import unittest
import urllib.parse

from harness import ROOT, ServerCase, wait_for
from sample_app import FOLDER, SampleApp

sys.path.insert(0, str(FOLDER))

from demo_app import receiver, sender  # noqa: E402 (needs the path above)
from demo_app.settings import Settings, SettingsError  # noqa: E402

SECONDS = int(os.environ.get("SAMPLE_APP_SECONDS", "0"))
MESSAGES = 80
TENANTS = {"tenant1": {}, "tenant2": {"ERROR_RATE": "0.5"}}


class SampleAppAlone(unittest.TestCase):
    def settings(self, **variables: str) -> Settings:
        return Settings.read("sender-service", variables)

    def test_the_endpoint_is_the_one_given_or_the_collector_on_the_node(self) -> None:
        self.assertEqual(self.settings().otlp_endpoint, "http://localhost:4317")
        self.assertEqual(self.settings(NODE_IP="10.0.0.7").otlp_endpoint, "http://10.0.0.7:4317")
        self.assertEqual(self.settings(NODE_IP="fd00::7", OTLP_PORT="4417").otlp_endpoint, "http://[fd00::7]:4417")
        given = self.settings(NODE_IP="10.0.0.7", OTEL_EXPORTER_OTLP_ENDPOINT="http://collector:4317")
        self.assertEqual(given.otlp_endpoint, "http://collector:4317")

    def test_values_that_make_no_sense_are_named(self) -> None:
        for name, value in [("ERROR_RATE", "1.5"), ("ERROR_RATE", "often"), ("LATENCY_MS", "-1"), ("PROCESSING_TIME_MS", "nan")]:
            with self.assertRaises(SettingsError) as caught:
                self.settings(**{name: value})
            self.assertIn(name, str(caught.exception))
            self.assertIn(value, str(caught.exception))

    def test_every_way_to_fail_has_its_status(self) -> None:
        # Nothing listens on port 1.
        client = sender.create(self.settings(TENANT_ID="t", RECEIVER_SERVICE_URL="http://127.0.0.1:1")).test_client()
        self.assertEqual(client.get("/health").get_json(), {"status": "healthy", "service": "sender-service", "tenant": "t"})
        self.assertEqual(client.get("/metrics").get_json()["tenant"], "t")
        self.assertEqual(client.post("/send", data="no JSON").status_code, 400)
        self.assertEqual(client.post("/send", json=[1]).status_code, 400)
        self.assertEqual(client.get("/send").status_code, 405)
        self.assertEqual(client.get("/nowhere").status_code, 404)
        self.assertEqual(client.post("/send", json={"message": "x" * 70_000}).status_code, 413)
        self.assertEqual(client.post("/send", json={"request_id": "a"}).status_code, 502)
        client = sender.create(self.settings(ERROR_RATE="1")).test_client()
        answer = client.post("/send", json={"request_id": "a"})
        self.assertEqual((answer.status_code, answer.get_json()), (500, {"error": "failed on purpose", "request_id": "a"}))
        client = receiver.create(self.settings(PROCESSING_TIME_MS="0")).test_client()
        self.assertEqual(client.post("/process", json={"request_id": "a"}).get_json()["status"], "processed")
        self.assertEqual(client.post("/process", json="a").status_code, 400)


class SampleAppOfTwoTenants(ServerCase):
    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        otlp = cls.server.addresses["otlp_grpc"]
        variables = {"PROCESSING_TIME_MS": "3"}
        cls.apps = {
            tenant: SampleApp(cls.server.folder, tenant, otlp, **variables, **own) for tenant, own in TENANTS.items()
        }
        for app in cls.apps.values():
            app.start_locust(SECONDS or 3600)
        if not SECONDS:
            for app in cls.apps.values():
                # Locust alone takes its time to start on a machine that is busy.
                wait_for(f"{MESSAGES} messages", lambda app=app: len(app.sender.log_lines()) >= MESSAGES, 300)
                app.end_locust()
        cls.locust = {tenant: app.locust_statistics(SECONDS) for tenant, app in cls.apps.items()}
        cls.exit_codes = {tenant: app.stop() for tenant, app in cls.apps.items()}
        for tenant in TENANTS:
            rates = {name: entry["num_requests"] for name, entry in cls.locust[tenant].items()}
            print(f"       {tenant}: Locust sent {rates}", flush=True)

    def ask(self, tenant: str, promql: str, path: str = "query", **parameters: object) -> list:
        form = urllib.parse.urlencode({"query": promql} | parameters).encode()
        headers = {"Content-Type": "application/x-www-form-urlencoded", "X-Scope-OrgID": tenant}
        status, body = self.server.request("POST", f"/api/v1/{path}", form, headers)
        self.assertEqual(status, 200, body)
        data = json.loads(body)["data"]
        return data["result"] if path == "query" else data

    def by(self, tenant: str, label: str, promql: str) -> dict[str, float]:
        found = self.ask(tenant, f"sum by ({label}) ({promql})")
        return {one["metric"].get(label, ""): float(one["value"][1]) for one in found}

    def sent(self, tenant: str) -> dict[str, int]:
        return {name: entry["num_requests"] for name, entry in self.locust[tenant].items()}

    def failed(self, tenant: str) -> int:
        return self.locust[tenant]["/send"]["num_failures"]

    def test_the_images_have_the_packages_that_are_tested(self) -> None:
        tested = set((ROOT / "scripts/requirements.txt").read_text().splitlines())
        for file in ("requirements.txt", "loadgen/requirements.txt"):
            pins = {line for line in (FOLDER / file).read_text().splitlines() if not line.startswith("#")}
            self.assertEqual(pins - tested, set(), file)

    def test_the_services_end_in_order_when_told_to(self) -> None:
        self.assertEqual(self.exit_codes, {tenant: [0, 0] for tenant in TENANTS})

    def test_http_requests_total_is_what_locust_counted(self) -> None:
        for tenant in TENANTS:
            sent = self.sent(tenant)
            self.assertGreaterEqual(sent["/send"], 1 if SECONDS else MESSAGES, sent)
            self.assertEqual(self.by(tenant, "http_route", 'http_requests_total{job="sender-service"}'), sent)
            duration = 'http_server_request_duration_seconds_count{job="sender-service"}'
            self.assertEqual(self.by(tenant, "http_route", duration), sent)
            failures = 'http_requests_total{job="sender-service",http_response_status_code=~"5.."}'
            self.assertEqual(sum(self.by(tenant, "job", failures).values()), self.failed(tenant))

    def test_the_receiver_counts_what_the_sender_handed_on(self) -> None:
        for tenant in TENANTS:
            handed_on = self.by(tenant, "job", "http_client_request_duration_seconds_count")["sender-service"]
            self.assertEqual(self.by(tenant, "job", "http_requests_total")["receiver-service"], handed_on)
            errors_of_sender = self.by(tenant, "job", 'http_requests_total{http_response_status_code="500"}')
            self.assertEqual(handed_on, self.sent(tenant)["/send"] - errors_of_sender.get("sender-service", 0))
        self.assertEqual(self.failed("tenant1"), 0)
        self.assertGreater(self.failed("tenant2"), 0)

    def test_neither_tenant_sees_the_other(self) -> None:
        for tenant in TENANTS:
            instances = {f"{service}-of-{tenant}" for service in ("sender", "receiver")}
            self.assertEqual(set(self.by(tenant, "instance", '{__name__!=""}')), instances)
            self.assertEqual(set(self.by(tenant, "tenant_id", "target_info")), {tenant})
        self.assertEqual(self.ask("anonymous", 'count({__name__!=""})'), [])

    def test_every_span_and_every_log_record_is_counted(self) -> None:
        for tenant in TENANTS:
            sent = self.sent(tenant)
            calls = 'traces_span_metrics_calls_total{job="sender-service",span_kind="SPAN_KIND_SERVER"}'
            methods = {"/send": "POST", "/health": "GET"}
            by_name = {f"{methods[route]} {route}": count for route, count in sent.items()}
            self.assertEqual(self.by(tenant, "span_name", f"sum_over_time({calls}[1h])"), by_name)
            logs = 'sum_over_time(log_record_count_total{job="sender-service"}[1h])'
            severities = {"INFO": sent["/send"] - self.failed(tenant), "ERROR": self.failed(tenant)}
            found = self.by(tenant, "severity", logs)
            self.assertEqual(found, {severity: count for severity, count in severities.items() if count})

    def test_a_request_is_one_trace_through_both_services(self) -> None:
        for app in self.apps.values():
            sent, received = ({line["request_id"]: line for line in service.log_lines()} for service in (app.sender, app.receiver))
            self.assertTrue(received)
            self.assertLessEqual(set(received), set(sent))
            for request_id, line in received.items():
                self.assertEqual(line["trace_id"], sent[request_id]["trace_id"])
                self.assertNotEqual(line["span_id"], sent[request_id]["span_id"])

    def test_exemplars_of_durations_lead_to_its_traces(self) -> None:
        for tenant, app in self.apps.items():
            selector = 'http_server_request_duration_seconds_bucket{http_route="/send"}'
            found = self.ask(tenant, selector, "query_exemplars", start="2020-01-01T00:00:00Z", end="2100-01-01T00:00:00Z")
            traces = {exemplar["labels"]["trace_id"] for series in found for exemplar in series["exemplars"]}
            self.assertTrue(traces)
            self.assertLessEqual(traces, {line["trace_id"] for line in app.sender.log_lines()})
