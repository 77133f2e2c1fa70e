"""Bodies that inflate to gigabytes, or say so, are refused and cost next to no memory."""

import http.client
import threading
import time
import unittest
import zlib
from collections.abc import Callable
from pathlib import Path

import http2
import wire
from harness import Server

MIB, GIB = 1 << 20, 1 << 30
BLOCK = 16 * MIB
ALONE_BYTES_MAX = 64 * MIB
TOGETHER_BYTES_MAX = 256 * MIB
TOGETHER_COUNT = 50


def gzip_bomb(size: int) -> bytes:
    """Zeros as one member; its checksum at the end is wrong, which nobody may get to see."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    first = packer.compress(bytes(BLOCK)) + packer.flush(zlib.Z_FULL_FLUSH)
    return b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + first * (size // BLOCK) + b"\x03\0" + bytes(8)


def gzip_members(size: int) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return (packer.compress(bytes(BLOCK)) + packer.flush()) * (size // BLOCK)


def zstd_bomb(size: int, window_exponent: int = 7) -> bytes:
    """Blocks of one repeated byte; the window is 2^(10 + exponent)."""
    block = ((128 << 10) << 3 | 1 << 1).to_bytes(3, "little") + b"\0"
    count = size // (128 << 10)
    last = (1).to_bytes(3, "little")
    return b"\x28\xb5\x2f\xfd" + bytes([0, window_exponent << 3]) + block * count + last


def snappy_bomb(size: int) -> bytes:
    """One literal zero, then copies of 64 bytes."""
    return wire.varint(size) + b"\0\0" + b"\xfe\x01\0" * ((size - 1) // 64)


SNAPPY_DECLARES_4_GIB = wire.varint((1 << 32) - 1) + b"\0\0"
"""Seven bytes."""
SNAPPY_LIES_UP = wire.varint(31 * MIB) + b"\0\0" + b"\xfe\x01\0" * 100
SNAPPY_LIES_DOWN = wire.varint(10) + snappy_bomb(16 * MIB)[4:]

GZIP = {"1 GiB": gzip_bomb(GIB), "10 GiB": gzip_bomb(10 * GIB), "1 GiB in members": gzip_members(GIB)}
ZSTD = {
    "1 GiB": zstd_bomb(GIB),
    "10 GiB": zstd_bomb(10 * GIB),
    "window of 128 MiB": zstd_bomb(GIB, 17),
    "window of 2 TiB": zstd_bomb(GIB, 31),
}
SNAPPY = {
    "1 GiB": snappy_bomb(GIB)[:MIB],
    "declares 4 GiB": SNAPPY_DECLARES_4_GIB,
    "declares more than it holds": SNAPPY_LIES_UP,
    "declares less than it holds": SNAPPY_LIES_DOWN,
}

OTLP_PATH = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"
PUT_PATH = "/arrow.flight.protocol.FlightService/DoPut"

# Port (a key of the addresses' file), path, Content-Encoding, Content-Type, bombs.
# To add a port of HTTP, add a line.
HTTP_TARGETS = [
    ("http", "/api/v1/write", "snappy", "application/x-protobuf", SNAPPY),
    ("http", "/api/v1/write", "gzip", "application/x-protobuf", GZIP),
    ("http", "/api/v1/write", "zstd", "application/x-protobuf", ZSTD),
    ("http", "/api/v1/read", "snappy", "application/x-protobuf", SNAPPY),
    ("http", "/api/v1/read", "gzip", "application/x-protobuf", GZIP),
    ("http", "/api/v1/otlp/v1/metrics", "gzip", "application/x-protobuf", GZIP),
    ("otlp_http", "/v1/metrics", "gzip", "application/x-protobuf", GZIP),
    ("otlp_http", "/v1/metrics", "zstd", "application/x-protobuf", ZSTD),
    ("otlp_http", "/v1/metrics", "gzip", "application/json", GZIP),
    ("http", "/api/v1/query", "gzip", "application/x-www-form-urlencoded", GZIP),
    ("http", "/api/v1/labels", "zstd", "application/x-www-form-urlencoded", ZSTD),
]
GRPC_TARGETS = [
    ("otlp_grpc", OTLP_PATH, "gzip", GZIP),
    ("otlp_grpc", OTLP_PATH, "zstd", ZSTD),
    ("arrow", PUT_PATH, "gzip", GZIP),
    ("arrow", PUT_PATH, "zstd", ZSTD),
]


class Memory:
    """The most memory that a process has had since `restart`."""

    def __init__(self, pid: int):
        self.folder = Path(f"/proc/{pid}")

    def _bytes(self, name: str) -> int:
        for line in (self.folder / "status").read_text().splitlines():
            if line.startswith(name + ":"):
                return int(line.split()[1]) * 1024
        raise AssertionError(f"no {name}")

    def restart(self) -> int:
        """Returns what the process has now."""
        (self.folder / "clear_refs").write_text("5")
        return self._bytes("VmRSS")

    def peak(self) -> int:
        return self._bytes("VmHWM")


class Bombs(unittest.TestCase):
    def setUp(self) -> None:
        self.server = Server()
        self.memory = Memory(self.server.process.child.pid)
        for _ in range(3):  # what every server takes with its first requests does not count
            self.server.instant("1")

    def tearDown(self) -> None:
        self.server.close()

    def post(self, port: str, path: str, encoding: str, content_type: str, body: bytes) -> str:
        headers = {"Content-Encoding": encoding, "Content-Type": content_type}
        connection = http.client.HTTPConnection(self.server.addresses[port], timeout=60)
        try:
            connection.request("POST", path, body, headers)
            return str(connection.getresponse().status)
        except (BrokenPipeError, ConnectionResetError):
            return "closed"  # refused before all of it was sent
        finally:
            connection.close()

    def call(self, port: str, path: str, encoding: str, body: bytes) -> str:
        headers = {"content-type": "application/grpc", "te": "trailers", "grpc-encoding": encoding}
        connection = http2.Connection(self.server.addresses[port])
        try:
            answer = connection.call(path, headers, http2.grpc_message(body, is_compressed=True))
        finally:
            connection.close()
        return "grpc " + answer.get("grpc-status", str(answer))

    def detonate(self, name: str, refused: set[str], send: Callable[[], str]) -> None:
        before = self.memory.restart()
        started = time.monotonic()
        answer = send()
        elapsed_ms = (time.monotonic() - started) * 1000
        growth = self.memory.peak() - before
        before = self.memory.restart()
        answers: list[str] = []
        threads = [threading.Thread(target=lambda: answers.append(send())) for _ in range(TOGETHER_COUNT)]
        started = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        together_ms = (time.monotonic() - started) * 1000
        together = self.memory.peak() - before
        print(
            f"{name}: {answer}, {elapsed_ms:.0f} ms, +{growth / MIB:.1f} MiB; "
            f"{TOGETHER_COUNT} at once: {together_ms:.0f} ms, +{together / MIB:.1f} MiB",
            flush=True,
        )
        self.server.process.check_alive()
        self.assertIn(answer, refused, name)
        self.assertEqual(set(answers) - refused, set(), name)
        self.assertEqual(len(answers), TOGETHER_COUNT, name)
        self.assertLessEqual(growth, ALONE_BYTES_MAX, name)
        self.assertLessEqual(together, TOGETHER_BYTES_MAX, name)

    def test_http_bodies(self) -> None:
        for port, path, encoding, content_type, bombs in HTTP_TARGETS:
            for kind, body in bombs.items():
                name = f"{port} {path} {encoding} {kind} ({len(body)} bytes)"
                refused = {"400", "413", "415", "503", "closed"}
                self.detonate(name, refused, lambda: self.post(port, path, encoding, content_type, body))
        self.assertEqual(self.server.value("vector(1 + 1)"), 2)

    def test_grpc_messages(self) -> None:
        for port, path, encoding, bombs in GRPC_TARGETS:
            for kind, body in bombs.items():
                name = f"{port} {path.rsplit('/')[-1]} {encoding} {kind} ({len(body)} bytes)"
                # INVALID_ARGUMENT, RESOURCE_EXHAUSTED, UNAVAILABLE
                refused = {"grpc 3", "grpc 8", "grpc 14"}
                self.detonate(name, refused, lambda: self.call(port, path, encoding, body))
        self.assertEqual(self.server.value("vector(1 + 1)"), 2)
