"""Every query of every dashboard gives data; the dashboards obey the rules; the JSON is what its program makes.

The server holds a small seed, the sample app of tenant1, replayed GPUs, a load test, and its own metrics. Each query is asked as Grafana asks it,
with all values of the variables and with the first of each, and parsed by Debian's Prometheus as well.
"""

import json
import math
import subprocess
import sys
import unittest
import urllib.parse

from harness import ROOT, ServerCase, wait_for

sys.path.insert(0, str(ROOT / "grafana"))

import dashboard_lint  # noqa: E402 (needs the path above)
import queries  # noqa: E402
import showcase  # noqa: E402
from sample_app import SampleApp  # noqa: E402

# Tenants of the provisioned data sources.
TENANTS = {"mytsdb": "", "mytsdb-tenant1": "tenant1", "mytsdb-tenant2": "tenant2"}
MINUTE = 60
# How far back each dashboard looks here; the seed has to be longer than an hour and a half.
LENGTH_S = {"k8s-seeded-cluster": 100 * MINUTE}
SEED = ["--days", "0.08", "--namespaces", "1", "--services", "2", "--pods-per-service", "2"]
# So many that every container has every metric.
SEED += ["--metrics-per-container", "120"]

# Rightly empty when the first value of each variable is chosen.
EMPTY_WITH_FIRST = {"sample-app: Calls to the receiver, p95 A": "the first service is the receiver, which calls nobody"}


class DashboardFiles(unittest.TestCase):
    def test_the_json_is_what_the_program_writes(self) -> None:
        ended = subprocess.run([sys.executable, ROOT / "grafana/build.py", "--check"], capture_output=True, text=True)
        self.assertEqual(ended.returncode, 0, ended.stdout + ended.stderr)

    def test_they_obey_the_rules(self) -> None:
        dashboards = queries.load()
        self.assertEqual(dashboard_lint.complaints(dashboards), [])
        for uid, variables in {"k8s-seeded-cluster": 9, "gpu-fleet": 4, "sample-app": 3, "mytsdb": 2, "load-test": 3}.items():
            self.assertEqual(len(queries.query_variables(dashboards[uid])), variables, uid)

    def test_a_rule_that_is_broken_is_found(self) -> None:
        text = json.dumps(queries.load())
        broken = [
            ("[$__rate_interval]", "[5m]"),
            ('"uid": "${datasource}"', '"uid": "mytsdb"'),
            ("sum by (le, ", "sum by ("),
            ("sum(rate(http_requests_total{", "sum((http_requests_total{"),
            ('"unit": "reqps"', '"unit": "rq"'),
            ('"x": 12', '"x": 11'),
            ("/d/k8s-seeded-cluster", "/d/k8s"),
            ('"id": 3,', '"id": 2,'),
            ("$namespace", "$namespaces"),
            ('"schemaVersion": 42', '"schemaVersion": 16'),
        ]
        for right, wrong in broken:
            self.assertIn(right, text)
            self.assertNotEqual(dashboard_lint.complaints(json.loads(text.replace(right, wrong))), [], wrong)

    def test_values_are_put_into_queries_as_grafana_does(self) -> None:
        # What `interpolateQueryExpr` of @grafana/prometheus 13.2.3 gives.
        self.assertEqual(queries.quoted(["a.b"]), r"a\\.b")
        self.assertEqual(queries.quoted(["a\\b", "c|d"]), r"(a\\\\b|c\\|d)")
        self.assertEqual(queries.quoted(["x'y-/z"]), "x'y-/z")
        over = queries.Range(0, 86_400)
        filled = queries.fill_times("$__rate_interval $__interval $__range ${__range_s}", over, 120)
        self.assertEqual(filled, "135s 120s 86400s 86400")
        self.assertEqual(queries.fill_variables("$a ${a} $ab $__range", {"a": "1", "ab": "2"}), "1 1 2 $__range")
        graph = {"gridPos": {"w": 12}}
        steps = [queries.interval_s(queries.Range(0, length_s), graph) for length_s in (300, 86_400, 7 * 86_400)]
        self.assertEqual(steps, [15, 120, 900])

    def test_their_data_sources_are_provisioned(self) -> None:
        provisioned = (ROOT / "grafana/provisioning/datasources/mytsdb.yaml").read_text()
        for uid, dashboard in queries.load().items():
            chosen = dashboard["templating"]["list"][0]["current"]
            self.assertIn(f"- name: {chosen['text']}\n    uid: {chosen['value']}\n", provisioned, uid)

    def test_each_fits_into_a_config_map(self) -> None:
        sizes = {path.name: path.stat().st_size for path in queries.FOLDER.glob("*.json")}
        self.assertEqual([name for name, size in sizes.items() if size > 500_000], [])


class DashboardQueries(ServerCase):
    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        server = cls.server
        cls.prometheus = showcase.Prometheus(server, "1s")
        app = SampleApp(server.folder, "tenant1", server.addresses["otlp_grpc"], ERROR_RATE="0.5", PROCESSING_TIME_MS="1")
        # Until the end: Prometheus would mark the series of a sender that is gone as stale.
        cls.load = showcase.start_load(server, cls.prometheus.sender_port, rate=2000)
        showcase.make_mistakes(server)
        # Twice, with an export between: one sample has no rate.
        showcase.use_sample_app(app.sender.url, 60)
        showcase.wait_for_export(server, "tenant1", 60)
        showcase.seed_cluster(server, *SEED)
        showcase.flush(server)
        gpus = showcase.replay_gpus(server, showcase.record_gpus(server, 16), "--loops", "2", "--rate", "0")
        showcase.use_sample_app(app.sender.url, 60)
        assert app.stop() == [0, 0]
        wait_for("the GPUs to be played", lambda: gpus.child.poll() is not None)
        assert gpus.stop() == 0, gpus.log.read_text()[-2000:]
        cls.now_s = showcase.wait_for_own_metrics(server, scrape_count=3)

    @classmethod
    def tearDownClass(cls) -> None:
        status = cls.load.stop()
        cls.prometheus.stop()
        assert status == 0, cls.load.log.read_text()[-2000:]
        super().tearDownClass()

    def ask(self, tenant: str, path: str, form: dict) -> tuple[int, dict]:
        headers = {"Content-Type": "application/x-www-form-urlencoded"} | ({"X-Scope-OrgID": tenant} if tenant else {})
        status, text = self.server.request("POST", f"/api/v1/{path}", urllib.parse.urlencode(form).encode(), headers)
        return status, json.loads(text)

    def label_values(self, tenant: str, over: queries.Range):
        def values(label: str, selector: str) -> list[str]:
            form = urllib.parse.urlencode({"match[]": selector, "start": over.start_s, "end": over.end_s})
            headers = {"X-Scope-OrgID": tenant} if tenant else {}
            status, text = self.server.request("GET", f"/api/v1/label/{label}/values?{form}", headers=headers)
            self.assertEqual(status, 200, text)
            return json.loads(text)["data"]

        return values

    def chosen(self, dashboard: dict, over: queries.Range) -> list[tuple[str, dict[str, str]]]:
        """Both ways to fill the variables in."""
        values = self.label_values(self.tenant(dashboard), over)
        everything, offered = queries.choose_all(dashboard, values)
        self.assertEqual([name for name, found in offered.items() if not found], [], f"{dashboard['uid']}: empty lists")
        return [("all", everything), ("first", queries.choose_first(dashboard, values))]

    def tenant(self, dashboard: dict) -> str:
        return TENANTS[dashboard["templating"]["list"][0]["current"]["value"]]

    def problem(self, one: queries.Asked, tenant: str, over: queries.Range) -> str:
        """Why a query is no good; empty if it is."""
        if one.is_instant:
            status, answer = self.ask(tenant, "query", {"query": one.promql, "time": over.end_s})
        else:
            form = {"query": one.promql, "start": over.start_s, "end": over.end_s, "step": one.step_s}
            status, answer = self.ask(tenant, "query_range", form)
        if status != 200:
            return answer["error"]
        series = answer["data"]["result"]
        samples = [sample for found in series for sample in found.get("values") or [found["value"]]]
        if all(math.isnan(float(value)) for _, value in samples):
            return "no data"
        refused = self.prometheus.parse_error(one.promql)
        return f"Prometheus: {refused}" if refused else ""

    def test_every_query_gives_data_and_parses_in_prometheus_too(self) -> None:
        wrong, count = [], 0
        for uid, dashboard in queries.load().items():
            length_s = LENGTH_S.get(uid, 5 * MINUTE)
            over = queries.Range(self.now_s - length_s, self.now_s)
            for how, values in self.chosen(dashboard, over):
                for one in queries.asked(dashboard, values, over):
                    if how == "first" and one.name in EMPTY_WITH_FIRST:
                        continue
                    count += 1
                    problem = self.problem(one, self.tenant(dashboard), over)
                    if problem:
                        wrong.append(f"{one.name} ({how}): {problem}\n  {one.promql}")
        print(f"       {count} queries asked, {len(wrong)} are wrong", flush=True)
        self.assertEqual(wrong, [], "\n".join(wrong))
        self.assertGreater(count, 300)

    def test_graphs_with_exemplars_have_some_that_lead_to_traces(self) -> None:
        dashboard, over = queries.load()["sample-app"], queries.Range(self.now_s - 5 * MINUTE, self.now_s + 1)
        _, values = self.chosen(dashboard, over)[0]
        asked = [one for one in queries.asked(dashboard, values, over) if one.target["exemplar"]]
        self.assertEqual(len(asked), 2)
        for one in asked:
            form = {"query": one.promql, "start": over.start_s, "end": over.end_s}
            status, answer = self.ask("tenant1", "query_exemplars", form)
            self.assertEqual(status, 200, answer)
            found = [exemplar for series in answer["data"] for exemplar in series["exemplars"]]
            self.assertTrue(found, one.promql)
            self.assertTrue(all(len(exemplar["labels"]["trace_id"]) == 32 for exemplar in found), one.promql)
