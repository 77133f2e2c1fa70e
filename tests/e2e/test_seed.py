"""The generator seeds a small cluster; dashboards find answers in it."""

import re
import subprocess
import time

from harness import GENERATOR_BIN, ServerCase

# As on the dashboards; each must give at least one series with a number in it.
QUERIES = [
    "sum by (namespace) (rate(container_cpu_usage_seconds_total[5m]))",
    "sum by (pod) (container_memory_working_set_bytes)",
    "topk(3, sum by (pod) (rate(container_network_receive_bytes_total[5m])))",
    "count by (namespace) (kube_pod_info)",
    "histogram_quantile(0.99, sum by (le) (rate(http_request_duration_seconds_bucket[5m])))",
]


class Seed(ServerCase):
    def test_a_small_seed_is_verified_and_answers_dashboard_queries(self) -> None:
        self.assertTrue(GENERATOR_BIN.exists(), f"{GENERATOR_BIN} is missing")
        end = int(time.time()) // 15 * 15
        arguments = ["--endpoint", "http://" + self.server.addresses["arrow"]]
        arguments += ["--http-endpoint", "http://" + self.server.http, "--end", str(end)]
        arguments += ["--days", "0.02", "--namespaces", "1", "--services", "2", "--pods-per-service", "1"]
        ended = subprocess.run([GENERATOR_BIN, *arguments], capture_output=True, text=True, timeout=300)
        self.assertEqual(ended.returncode, 0, ended.stdout + ended.stderr)
        verified = re.search(r"verified (\d+) samples", ended.stdout)
        self.assertIsNotNone(verified, ended.stdout)
        self.assertGreater(int(verified.group(1)), 0)
        answers = {query: self.server.instant(query, at=end) for query in QUERIES}
        self.assertEqual([query for query, result in answers.items() if not result], [], "queries without an answer")
        for query, result in answers.items():
            self.assertTrue(all(float(series["value"][1]) >= 0 for series in result), (query, result))
