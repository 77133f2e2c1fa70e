"""Bad input gets a clear error, costs its neighbours nothing, and the server goes on."""

import time

import wire
from harness import Refused, ServerCase

NOW_MS = int(time.time() * 1000)


class BadInput(ServerCase):
    def tearDown(self) -> None:
        self.server.process.check_alive()
        good = wire.request(wire.series({"__name__": "e2e_alive"}, [(NOW_MS, 1.0)]))
        self.assertEqual(self.server.write(good)[0], 204)
        self.assertEqual(self.server.value("e2e_alive", at=NOW_MS / 1000), 1)

    def test_a_truncated_snappy_body_is_refused(self) -> None:
        whole = wire.request(wire.series({"__name__": "e2e_truncated"}, [(NOW_MS, 1.0)] * 50))
        status, text = self.server.write(whole[: len(whole) // 2])
        self.assertEqual(status, 400, text)
        self.assertIn("snappy", text)

    def test_bytes_that_are_no_protobuf_are_refused(self) -> None:
        status, text = self.server.write(wire.snappy(b"\xff" * 100))
        self.assertEqual(status, 400, text)
        self.assertNotEqual(text.strip(), "")

    def test_a_series_without_a_name_is_refused_and_its_neighbour_is_stored(self) -> None:
        nameless = wire.series({"pod": "a"}, [(NOW_MS, 1.0)])
        neighbour = wire.series({"__name__": "e2e_neighbour"}, [(NOW_MS, 2.0)])
        status, text = self.server.write(wire.request(nameless, neighbour))
        self.assertEqual(status, 400, text)
        self.assertIn("name", text)
        self.assertEqual(self.server.value("e2e_neighbour", at=NOW_MS / 1000), 2)
        self.assertEqual(self.server.instant('{pod="a"}', at=NOW_MS / 1000), [])

    def test_twenty_thousand_parentheses_are_a_parse_error(self) -> None:
        with self.assertRaises(Refused) as caught:
            self.server.instant("(" * 20_000 + "1" + ")" * 20_000)
        self.assertEqual(caught.exception.status, 400)
        self.assertIn("bad_data", caught.exception.body)

    def test_a_range_beyond_all_numbers_is_a_parse_error(self) -> None:
        with self.assertRaises(Refused) as caught:
            self.server.instant("foo[1e400]")
        self.assertEqual(caught.exception.status, 400)
        self.assertIn("bad_data", caught.exception.body)
