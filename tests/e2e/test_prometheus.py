"""Debian's Prometheus scrapes MyTSDB's own /metrics and sends what it finds by remote write."""

import socket

from harness import PROMETHEUS_BIN, Process, ServerCase, wait_for

CONFIG = """
global: {{scrape_interval: 500ms, scrape_timeout: 500ms, external_labels: {{sender: debian}}}}
scrape_configs:
  - job_name: mytsdb
    static_configs: [{{targets: ["{address}"]}}]
remote_write:
  - url: http://{address}/api/v1/write
    queue_config: {{batch_send_deadline: 200ms}}
"""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class PrometheusRemoteWrite(ServerCase):
    def test_what_prometheus_scrapes_and_sends_can_be_queried(self) -> None:
        self.assertTrue(PROMETHEUS_BIN.exists(), f"{PROMETHEUS_BIN} is missing: scripts/install-test-deps.sh test")
        folder = self.server.folder / "prometheus"
        folder.mkdir()
        config = folder / "prometheus.yml"
        config.write_text(CONFIG.format(address=self.server.http))
        prometheus = Process(
            [
                PROMETHEUS_BIN,
                f"--config.file={config}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{free_port()}",
            ],
            folder / "log",
        )

        def has_three_scrapes() -> bool:
            prometheus.check_alive()
            result = self.server.instant('count_over_time(up{job="mytsdb", sender="debian"}[1h])')
            return bool(result) and float(result[0]["value"][1]) >= 3

        try:
            wait_for("three scrapes sent by Prometheus", has_three_scrapes)
            self.assertEqual(self.server.value('up{job="mytsdb"}'), 1)
            accepted = self.server.value('sum(mytsdb_accepted_samples_total{job="mytsdb"})')
            self.assertGreaterEqual(accepted, 1)
            self.assertGreater(self.server.value("scrape_samples_scraped"), 1)
        finally:
            self.assertEqual(prometheus.stop(), 0)
