"""HTTP/2 frame by frame, so that tests can also send what no library would."""

import socket
import struct
import time

import hpack

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
END_STREAM, ACK, END_HEADERS = 1, 1, 4
INITIAL_WINDOW_SIZE = 4


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def grpc_message(content: bytes, is_compressed: bool = False) -> bytes:
    return struct.pack(">BI", is_compressed, len(content)) + content


class Connection:
    """A client's connection after the preface. Reads frames only when it is asked to."""

    def __init__(self, address: str, seconds: float = 60):
        host, port = address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), timeout=seconds)
        self.encoder, self.decoder = hpack.Encoder(), hpack.Decoder()
        self.received = b""
        self.next_stream = 1
        self.stream_window = self.connection_window = 65_535
        self.socket.sendall(PREFACE + frame(SETTINGS, 0, 0))
        while self.read_frame()[0] != SETTINGS:
            pass

    def headers(self, path: str, extra: dict[str, str], is_last: bool = False) -> tuple[int, bytes]:
        """The frame that opens a stream, and the stream."""
        stream, self.next_stream = self.next_stream, self.next_stream + 2
        pairs = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "test"), *extra.items()]
        flags = END_HEADERS | (END_STREAM if is_last else 0)
        return stream, frame(HEADERS, flags, stream, self.encoder.encode(pairs))

    def read_frame(self) -> tuple[int, int, int, bytes]:
        """Kind, flags, stream, payload of the next frame. Keeps the windows up to date."""
        while len(self.received) < 9 or len(self.received) < 9 + int.from_bytes(self.received[:3], "big"):
            part = self.socket.recv(1 << 16)
            if not part:
                raise ConnectionError("the server closed the connection")
            self.received += part
        length = int.from_bytes(self.received[:3], "big")
        kind, flags, stream = struct.unpack(">BBI", self.received[3:9])
        payload, self.received = self.received[9 : 9 + length], self.received[9 + length :]
        if kind == SETTINGS and not flags & ACK:
            for key, value in struct.iter_unpack(">HI", payload):
                if key == INITIAL_WINDOW_SIZE:
                    self.stream_window += value - 65_535
            self.socket.sendall(frame(SETTINGS, ACK, 0))
        elif kind == WINDOW_UPDATE:
            step = int.from_bytes(payload, "big")
            if stream:
                self.stream_window += step
            else:
                self.connection_window += step
        return kind, flags, stream, payload

    def call(self, path: str, extra: dict[str, str], body: bytes) -> dict[str, str]:
        """Sends one request within the windows; returns headers and trailers of the answer, which may come early.

        One call per connection: the window of streams is not reset."""
        stream, opening = self.headers(path, extra)
        self.socket.sendall(opening)
        answer: dict[str, str] = {}
        position = 0
        while True:
            step = min(len(body) - position, 16_384, self.stream_window, self.connection_window)
            is_last = position + step == len(body)
            if position < len(body) and step > 0:
                self.stream_window -= step
                self.connection_window -= step
                part = body[position : position + step]
                position += step
                try:
                    self.socket.sendall(frame(DATA, END_STREAM if is_last else 0, stream, part))
                    continue
                except OSError:
                    position = len(body)  # the answer may be there all the same
            kind, flags, of_stream, payload = self.read_frame()
            if of_stream == stream and kind == HEADERS:
                answer |= dict(self.decoder.decode(payload))
                if flags & END_STREAM:
                    return answer
            elif kind == RST_STREAM and of_stream == stream:
                return answer or {"reset": str(int.from_bytes(payload, "big"))}
            elif kind == DATA and flags & END_STREAM:
                return answer
            elif kind == GOAWAY:
                return answer or {"goaway": str(int.from_bytes(payload[4:8], "big"))}

    def is_closed_within(self, seconds: float) -> bool:
        """Reads on until the server closes the connection or says that it will."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.socket.settimeout(max(0.01, deadline - time.monotonic()))
            try:
                if self.read_frame()[0] == GOAWAY:
                    return True
            except TimeoutError:
                return False
            except OSError:
                return True
        return False

    def close(self) -> None:
        self.socket.close()
