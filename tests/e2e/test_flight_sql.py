"""ADBC against the real server: bulk ingest, reading back, and moving everything to a second server."""

import json
import time
import unittest
import warnings

import adbc_driver_flightsql.dbapi as adbc
import adbc_driver_manager
import pyarrow as pa
import pyarrow.flight as flight
from harness import Server, ServerCase
from test_flight import get, put
from wire import field, histogram, snappy

NOW_MS = int(time.time()) * 1000 - 600_000
TIMESTAMP = pa.timestamp("ms", tz="UTC")


def connect(server: Server, tenant: str | None = None):
    """An ADBC connection; the server has no transactions, of which the driver warns."""
    options = {"adbc.flight.sql.rpc.call_header.x-scope-orgid": tenant} if tenant else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return adbc.connect(server.flight, db_kwargs=options)


def rooms(metric: str, count: int) -> pa.Table:
    return pa.table(
        {
            "metric": pa.array([metric] * count).dictionary_encode(),
            "timestamp": pa.array([NOW_MS + index * 1_000 for index in range(count)], TIMESTAMP),
            "value": pa.array([index * 0.5 for index in range(count)]),
            "room": ["north", "south"] * (count // 2),
        }
    )


class Adbc(ServerCase):
    def test_rows_are_appended_and_read_back(self) -> None:
        with connect(self.server) as connection, connection.cursor() as cursor:
            self.assertEqual(cursor.adbc_ingest("samples", rooms("adbc_rooms", 500), mode="append"), 500)
            self.assertEqual(self.server.value("sum(count_over_time(adbc_rooms[1h]))", NOW_MS / 1000 + 500), 500)
            begin = NOW_MS / 1000 + 100
            cursor.execute(f'SELECT * FROM "adbc_rooms" WHERE timestamp >= {begin} AND timestamp < {begin + 50}')
            rows = cursor.fetch_arrow_table()
            self.assertEqual(rows.num_rows, 50)
            self.assertEqual(sorted(rows["value"].to_pylist()), [index * 0.5 for index in range(100, 150)])
            cursor.execute(f"PROMQL time={begin} sum by (room) (adbc_rooms)")
            self.assertEqual(cursor.fetch_arrow_table().num_rows, 2)

    def test_modes_mean_what_they_say(self) -> None:
        with connect(self.server, "modes") as connection, connection.cursor() as cursor:
            table = rooms("adbc_modes", 2)
            self.assertEqual(cursor.adbc_ingest("adbc_new", table.drop(["metric"]), mode="create"), 2)
            self.assertEqual(cursor.adbc_ingest("samples", table, mode="create_append"), 2)
            for name, mode in [("samples", "create"), ("samples", "replace"), ("adbc_new", "create")]:
                with self.assertRaises(adbc_driver_manager.Error) as caught:
                    cursor.adbc_ingest(name, table, mode=mode)
                self.assertIn("append", str(caught.exception))

    def test_one_bad_row_costs_no_other(self) -> None:
        times = [NOW_MS + index for index in range(10_000)]
        times[4_321] = 1
        table = pa.table({"timestamp": pa.array(times, TIMESTAMP), "value": pa.array([1.0] * 10_000)})
        with connect(self.server) as connection, connection.cursor() as cursor:
            self.assertEqual(cursor.adbc_ingest("adbc_bad", table, mode="append"), 9_999)
        (ack,) = put(self.server, table.append_column("metric", [["adbc_bad_too"] * 10_000]))
        self.assertEqual((ack["affected_rows"], ack["rejected_rows"]), (9_999, 1))
        self.assertEqual(ack["rejected"][0]["row"], 4_321)

    def test_a_driver_lists_the_catalog(self) -> None:
        with connect(self.server, "catalog") as connection, connection.cursor() as cursor:
            cursor.adbc_ingest("adbc_listed", rooms("x", 2).drop(["metric"]), mode="append")
            self.assertEqual(connection.adbc_get_info()["vendor_name"], "MyTSDB")
            (catalog,) = connection.adbc_get_objects(depth="tables").read_all().to_pylist()
            self.assertEqual(catalog["catalog_name"], "catalog")
            (schema,) = catalog["catalog_db_schemas"]
            names = {table["table_name"] for table in schema["db_schema_tables"]}
            self.assertLessEqual({"samples", "histograms", "adbc_listed"}, names)
            self.assertEqual(connection.adbc_get_table_schema("adbc_listed").names[:3], ["labels", "timestamp", "value"])
            with self.assertRaises(adbc_driver_manager.Error) as caught:
                cursor.execute("SELECT value FROM adbc_listed")
            self.assertIn("SELECT * FROM", str(caught.exception))


class TwoServers(unittest.TestCase):
    def test_what_adbc_selects_from_one_server_a_second_one_takes_and_answers_the_same(self) -> None:
        first, second = Server(), Server()
        self.addCleanup(first.close)
        self.addCleanup(second.close)
        put(first, rooms("moved_rooms", 300))
        spans, deltas = [(-2, 2), (3, 1)], [4, 1, -2]
        native = {"schema": 3, "zero_threshold": 1e-128, "sum": 18.5, "count_int": 14, "zero_count_int": 2}
        native |= {"positive_spans": spans, "positive_deltas": deltas}
        times = range(NOW_MS, NOW_MS + 300_000, 15_000)
        body = field(1, field(1, b"__name__") + field(2, b"moved_seconds"))
        body += b"".join(histogram(time_ms, **native) for time_ms in times)
        status, text = first.write(snappy(field(1, body)))
        self.assertEqual(status, 204, text)

        with connect(first) as source, connect(second) as target:
            with source.cursor() as reading, target.cursor() as writing:
                for table in ["samples", "exemplars", "metadata"]:
                    reading.execute(f"SELECT * FROM {table}")
                    rows = reading.fetch_arrow_table()
                    if rows.num_rows:
                        stored = writing.adbc_ingest(table, rows, mode="append")
                        self.assertEqual(stored, rows.num_rows, table)
        window = {"start": NOW_MS / 1000, "end": NOW_MS / 1000 + 300, "step": 15}
        for query in ["moved_rooms", "moved_seconds", "histogram_quantile(0.5, moved_seconds)"]:
            expected = first.api("query_range", query=query, **window)["result"]
            self.assertTrue(expected, query)
            self.assertEqual(second.api("query_range", query=query, **window)["result"], expected, query)
        exported = [get(server, {"export": {"layout": "series"}}) for server in (first, second)]
        self.assertEqual(exported[0].num_rows, 3)
        self.assertEqual(exported[0].to_pylist(), exported[1].to_pylist())


class Unread(ServerCase):
    def test_a_client_that_reads_nothing_until_the_end_is_not_stuck(self) -> None:
        count = 4_000
        client = flight.connect(self.server.flight)
        schema = pa.schema([("timestamp", TIMESTAMP), ("value", pa.float64())])
        writer, reader = client.do_put(flight.FlightDescriptor.for_path("unread"), schema)
        for index in range(count):
            writer.write_batch(pa.record_batch([pa.array([NOW_MS + index], TIMESTAMP), pa.array([1.0])], schema))
        writer.done_writing()
        rows = 0
        while (buffer := reader.read()) is not None:
            rows += json.loads(buffer.to_pybytes())["affected_rows"]
        writer.close()
        client.close()
        self.assertEqual(rows, count)
