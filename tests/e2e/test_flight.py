"""pyarrow over Arrow Flight: put in two layouts, read acknowledgements, get back, compare with HTTP."""

import json
import time

import pyarrow as pa
import pyarrow.flight as flight
from harness import ServerCase

NOW_MS = int(time.time()) * 1000 - 600_000
TIMESTAMP = pa.timestamp("ms", tz="UTC")


def put(server, table: pa.Table, batch_rows: int = 65_536) -> list[dict]:
    """Writes a table and returns all acknowledgements."""
    client = flight.connect(server.flight)
    writer, reader = client.do_put(flight.FlightDescriptor.for_path("samples"), table.schema)
    writer.write_table(table, max_chunksize=batch_rows)
    writer.done_writing()
    acks = []
    while (buffer := reader.read()) is not None:
        acks.append(json.loads(buffer.to_pybytes()))
    writer.close()
    client.close()
    return acks


def get(server, ticket: dict) -> pa.Table:
    client = flight.connect(server.flight)
    table = client.do_get(flight.Ticket(json.dumps(ticket).encode())).read_all()
    client.close()
    return table


class ArrowFlight(ServerCase):
    def test_the_long_layout_is_acknowledged_batch_by_batch_and_read_back_the_same(self) -> None:
        count = 300
        times = [NOW_MS + index * 1_000 for index in range(count)]
        values = [index * 0.5 for index in range(count)]
        table = pa.table(
            {
                "metric": ["e2e_long"] * count,
                "timestamp": pa.array(times, TIMESTAMP),
                "value": pa.array(values, pa.float64()),
                "room": ["north", "south", None] * (count // 3),
            }
        )
        acks = put(self.server, table, batch_rows=100)
        self.assertEqual([ack["affected_rows"] for ack in acks], [100, 100, 100])
        self.assertTrue(all(ack["durable"] and ack["rejected_rows"] == 0 for ack in acks), acks)
        self.assertEqual(self.server.value("count(e2e_long)", at=times[-1] / 1000), 3)

        start, end, step = times[0] / 1000, times[-1] / 1000, 3
        query = 'e2e_long{room="north"}'
        rows = get(self.server, {"promql": query, "start": start, "end": end, "step": step}).to_pylist()
        (series,) = self.server.api("query_range", query=query, start=start, end=end, step=step)["result"]
        over_flight = [(row["timestamp"].timestamp(), row["value"]) for row in rows]
        over_http = [(at, float(value)) for at, value in series["values"]]
        self.assertEqual(over_flight, over_http)
        self.assertEqual(len(over_http), 100)
        self.assertEqual(over_http[1], (start + 3, 1.5))

    def test_the_series_layout_holds_many_samples_in_a_row(self) -> None:
        times = [NOW_MS + index * 1_000 for index in range(200)]
        labels = [[("__name__", "e2e_series"), ("pod", pod)] for pod in ("a", "b")]
        table = pa.table(
            {
                "labels": pa.array(labels, pa.map_(pa.string(), pa.string())),
                "timestamps": pa.array([times, times], pa.list_(TIMESTAMP)),
                "values": pa.array([[1.0] * 200, [2.0] * 200], pa.list_(pa.float64())),
            }
        )
        acks = put(self.server, table)
        self.assertEqual(sum(ack["affected_rows"] for ack in acks), 400)
        at = times[-1] / 1000
        self.assertEqual(self.server.value('sum(sum_over_time(e2e_series{pod="b"}[1h]))', at), 400)
        self.assertEqual(self.server.value("sum(count_over_time(e2e_series[1h]))", at), 400)

    def test_dictionary_columns_are_labels_like_plain_ones(self) -> None:
        table = pa.table(
            {
                "metric": pa.array(["e2e_dictionary"] * 4).dictionary_encode(),
                "timestamp": pa.array([NOW_MS + 1, NOW_MS + 2, NOW_MS + 1, NOW_MS + 2], TIMESTAMP),
                "value": pa.array([1.0, 2.0, 3.0, 4.0]),
                "zone": pa.array(["x", "x", "y", "y"]).dictionary_encode(),
            }
        )
        self.assertEqual(put(self.server, table)[0]["affected_rows"], 4)
        result = self.server.instant("e2e_dictionary", at=NOW_MS / 1000 + 1)
        found = {series["metric"]["zone"]: float(series["value"][1]) for series in result}
        self.assertEqual(found, {"x": 2, "y": 4})

    def test_a_missing_column_is_an_error_that_names_it(self) -> None:
        table = pa.table({"metric": ["e2e_missing"], "timestamp": pa.array([NOW_MS], TIMESTAMP)})
        with self.assertRaises(pa.ArrowInvalid) as caught:
            put(self.server, table)
        self.assertIn("value", str(caught.exception))

    def test_a_float_column_of_nan_timestamps_is_refused_by_name(self) -> None:
        table = pa.table({"metric": ["e2e_nan"], "timestamp": [float("nan")], "value": [1.0]})
        with self.assertRaises(pa.ArrowInvalid) as caught:
            put(self.server, table)
        self.assertIn("timestamp", str(caught.exception))
        self.assertEqual(self.server.instant("e2e_nan"), [])
