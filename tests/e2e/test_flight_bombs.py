"""Arrow messages that are small on the wire and huge, or false, inside: refused at once, with little memory.

The messages travel over plain gRPC, so that every byte of them can be wrong.
"""

import mmap
import struct
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import pyarrow as pa
from harness import ServerCase
from wire import field, varint

MIB = 1 << 20
GIB = 1 << 30
NOW_MS = int(time.time()) * 1000
SCHEMA = pa.schema([("metric", pa.string()), ("timestamp", pa.int64()), ("value", pa.float64())])


def flight_data(encapsulated: bytes, descriptor: str | None = None) -> bytes:
    """A `FlightData` of an encapsulated Arrow message: 4 bytes of marker, 4 of length, header, body."""
    (header_bytes,) = struct.unpack("<i", encapsulated[4:8])
    header, body = encapsulated[8 : 8 + header_bytes], encapsulated[8 + header_bytes :]
    content = field(1, b"\x08" + varint(1) + field(3, descriptor.encode())) if descriptor else b""
    return content + field(2, header) + field(1000, body)


def batch(row_count: int, schema: pa.Schema = SCHEMA) -> pa.RecordBatch:
    columns = [["bomb"] * row_count, [NOW_MS] * row_count, [1.0] * row_count]
    return pa.record_batch([pa.array(column, kind) for column, kind in zip(columns, schema.types)], schema)


def compressed(rows: pa.RecordBatch, codec: str) -> bytes:
    options = pa.ipc.IpcWriteOptions(compression=codec)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema, options=options) as writer:
        writer.write_batch(rows)
    stream = sink.getvalue().to_pybytes()
    reader = pa.ipc.MessageReader.open_stream(stream)
    reader.read_next_message()
    return reader.read_next_message().serialize().to_pybytes()


def zeros(schema: pa.Schema, byte_count: int) -> pa.RecordBatch:
    """Rows whose times and values are pages that nobody has written to."""
    row_count = byte_count // 8
    pages = pa.py_buffer(mmap.mmap(-1, byte_count))
    times = pa.Array.from_buffers(pa.int64(), row_count, [None, pages])
    values = pa.Array.from_buffers(pa.float64(), row_count, [None, pages])
    return pa.record_batch([times, values], schema)


class Bombs(ServerCase):
    def send(self, schema: pa.Schema, *messages: bytes, table: str = "samples") -> grpc.StatusCode:
        first = flight_data(schema.serialize().to_pybytes(), table)
        unlimited = [("grpc.max_send_message_length", -1)]
        with grpc.insecure_channel(self.server.addresses["arrow"], unlimited) as channel:
            put = channel.stream_stream("/arrow.flight.protocol.FlightService/DoPut")
            try:
                list(put(iter([first, *messages]), timeout=60))
            except grpc.RpcError as error:
                self.details = error.details()
                return error.code()
        return grpc.StatusCode.OK

    def status_bytes(self, name: str) -> int:
        with open(f"/proc/{self.server.process.child.pid}/status") as status:
            (line,) = [line for line in status if line.startswith(name + ":")]
        return int(line.split()[1]) * 1024

    def grown_by(self, work) -> int:
        """How much more memory the server had at its highest while `work` ran than before."""
        with open(f"/proc/{self.server.process.child.pid}/clear_refs", "w") as peak:
            peak.write("5")
        before = self.status_bytes("VmRSS")
        work()
        return self.status_bytes("VmHWM") - before

    def check_refused(self, schema: pa.Schema, *messages: bytes, part: str = "") -> None:
        self.assertEqual(self.send(schema, *messages), grpc.StatusCode.INVALID_ARGUMENT)
        self.assertIn(part, self.details)

    def setUp(self) -> None:
        # The server has its buffers and threads before anything is measured.
        self.assertEqual(self.send(SCHEMA, flight_data(compressed(batch(10), "zstd"))), grpc.StatusCode.OK)

    def tearDown(self) -> None:
        self.assertEqual(self.send(SCHEMA, flight_data(compressed(batch(10), "lz4"))), grpc.StatusCode.OK)

    def test_a_body_that_inflates_to_a_gibibyte_is_refused_with_little_memory(self) -> None:
        schema = pa.schema([("timestamp", pa.int64()), ("value", pa.float64())])
        bomb = flight_data(compressed(zeros(schema, GIB // 2), "zstd"))
        self.assertLess(len(bomb), MIB)

        def work() -> None:
            self.assertEqual(self.send(schema, bomb, table="bomb"), grpc.StatusCode.INVALID_ARGUMENT)
            self.assertIn("the limit is", self.details)

        self.assertLess(self.grown_by(work), 64 * MIB)

        def fifty() -> None:
            with ThreadPoolExecutor(50) as pool:
                list(pool.map(lambda _: work(), range(50)))

        self.assertLess(self.grown_by(fifty), 256 * MIB)

    def test_sizes_that_are_only_claimed_are_refused_before_anything_is_allocated(self) -> None:
        for codec in ["zstd", "lz4"]:
            # Texts of 26 bytes compress: the first buffer with bytes is that of the offsets.
            good = compressed(batch(1_000), codec)
            (header_bytes,) = struct.unpack("<i", good[4:8])
            start = 8 + header_bytes
            for claimed in [GIB, 10 * GIB, 1 << 62]:
                lie = good[:start] + struct.pack("<q", claimed) + good[start + 8 :]
                self.assertLess(
                    self.grown_by(lambda: self.check_refused(SCHEMA, flight_data(lie), part="the limit is")), 64 * MIB
                )
            for claimed in [1, 8, 63 * MIB, -7]:
                lie = good[:start] + struct.pack("<q", claimed) + good[start + 8 :]
                self.assertLess(self.grown_by(lambda: self.check_refused(SCHEMA, flight_data(lie))), 128 * MIB)

    def test_buffers_outside_of_the_body_and_bodies_cut_short_are_refused(self) -> None:
        good = batch(100).serialize().to_pybytes()
        for cut in [1, 8, 64, 500, 1_000]:
            self.check_refused(SCHEMA, flight_data(good[:-cut]))

    def test_a_schema_of_deep_nesting_is_refused(self) -> None:
        kind = pa.float64()
        for _level in range(200):
            kind = pa.list_(kind)
        schema = pa.schema([("metric", pa.string()), ("timestamp", pa.int64()), ("value", kind)])
        self.check_refused(schema)

    def test_a_dictionary_index_out_of_range_is_refused(self) -> None:
        kind = pa.dictionary(pa.int32(), pa.string())
        schema = pa.schema([("metric", kind), ("timestamp", pa.int64()), ("value", pa.float64())])
        names = pa.DictionaryArray.from_arrays(pa.array([0, 9], pa.int32()), ["a"], safe=False)
        rows = pa.record_batch([names, pa.array([NOW_MS] * 2), pa.array([1.0] * 2)], schema)
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, schema) as writer:
            writer.write_batch(rows)
        reader = pa.ipc.MessageReader.open_stream(sink.getvalue())
        reader.read_next_message()
        messages = [flight_data(reader.read_next_message().serialize().to_pybytes()) for _ in range(2)]
        self.check_refused(schema, *messages)

    def test_runs_that_stand_for_billions_of_rows_are_refused(self) -> None:
        row_count = (1 << 31) - 1

        def runs(values: pa.Array) -> pa.Array:
            return pa.RunEndEncodedArray.from_arrays(pa.array([row_count], pa.int64()), values)

        columns = [runs(pa.array(["bomb"])), runs(pa.array([NOW_MS])), runs(pa.array([1.0]))]
        schema = pa.schema(list(zip(SCHEMA.names, [column.type for column in columns])))
        message = flight_data(pa.record_batch(columns, schema).serialize().to_pybytes())
        self.assertLess(
            self.grown_by(lambda: self.check_refused(schema, message, part="rows unrolled")), 64 * MIB
        )
