"""What was acknowledged is there after the server was stopped, and after it was killed."""

import signal
import time
import unittest

import wire
from harness import Server

NOW_MS = int(time.time() * 1000)


class Restart(unittest.TestCase):
    def setUp(self) -> None:
        self.server = Server()

    def tearDown(self) -> None:
        self.server.close()

    def write(self, count: int) -> None:
        samples = [(NOW_MS - 60_000 + index, float(index)) for index in range(count)]
        status, text = self.server.write(wire.request(wire.series({"__name__": "e2e_kept"}, samples)))
        self.assertEqual(status, 204, text)

    def check(self, count: int) -> None:
        self.assertEqual(self.server.value("count_over_time(e2e_kept[1h])", at=NOW_MS / 1000), count)
        self.assertEqual(self.server.value("e2e_kept", at=NOW_MS / 1000), count - 1)

    def test_data_survive_a_stop_and_the_server_ends_with_status_zero(self) -> None:
        self.write(500)
        self.assertEqual(self.server.process.stop(signal.SIGTERM), 0)
        self.server.start()
        self.check(500)

    def test_acknowledged_data_survive_a_kill(self) -> None:
        self.write(700)
        self.assertEqual(self.server.process.stop(signal.SIGKILL), -signal.SIGKILL)
        self.server.start()
        self.check(700)

    def test_data_written_after_a_kill_join_those_before_it(self) -> None:
        self.write(300)
        self.server.process.stop(signal.SIGKILL)
        self.server.start()
        self.assertEqual(self.server.request("POST", "/api/v1/admin/tsdb/flush")[0], 204)
        self.write(400)
        self.server.process.stop(signal.SIGKILL)
        self.server.start()
        self.check(400)
