"""A disk that is full: writes are refused for the time being, reads go on, nothing acknowledged is lost.

The data lie on a small file system in memory. Where nothing can be mounted (it needs root), the test says so and shows nothing.
"""

import atexit
import errno
import shutil
import signal
import subprocess
import time
import unittest
from pathlib import Path

import wire
from harness import Server, wait_for

DISK_BYTES = 16 << 20
NOW_MS = int(time.time() * 1000)
START_MS = NOW_MS - 600_000


class NoSmallDisk(Exception):
    """This machine does not let us mount one."""


def unmount(folder: Path) -> None:
    subprocess.run(["umount", "--lazy", str(folder)], stderr=subprocess.DEVNULL)


class SmallDiskServer(Server):
    """The real server with its data on a file system of a few megabytes."""

    def start(self) -> None:
        data = self.folder / "data"
        if not data.exists():
            data.mkdir()
            mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "mytsdb-e2e", str(data)]
            mounted = subprocess.run(mount, capture_output=True, text=True)
            if mounted.returncode != 0:
                shutil.rmtree(self.folder)
                raise NoSmallDisk(mounted.stderr.strip())
            atexit.register(unmount, data)
        super().start()

    def fill(self) -> None:
        """Takes all the room that is left."""
        with open(self.folder / "data" / "filler", "ab", buffering=0) as filler:
            for size in (1 << 16, 1):
                try:
                    while True:
                        filler.write(b"x" * size)
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise

    def make_room(self) -> None:
        (self.folder / "data" / "filler").unlink()

    def close(self) -> None:
        self.process.stop(signal.SIGKILL)
        unmount(self.folder / "data")
        super().close()


class DiskFull(unittest.TestCase):
    acknowledged: list[int]
    written: int

    def write(self) -> int:
        """Writes the next sample; returns the status."""
        at, value = START_MS + self.written, float(self.written)
        self.written += 1
        status, text = self.server.write(wire.request(wire.series({"__name__": "e2e_full"}, [(at, value)])))
        self.assertIn(status, (204, 503), text)
        if status == 204:
            self.acknowledged.append(at)
        else:
            self.assertRegex(text, "disk|room|space", "the refusal names its cause")
        return status

    def check(self) -> None:
        """Everything acknowledged is there; what was refused may be."""
        at = (START_MS + self.written) / 1000
        rows = self.server.instant("e2e_full[1h]", at=at)
        found = {round(float(time_s) * 1000) for time_s, _ in rows[0]["values"]}
        self.assertEqual(set(self.acknowledged) - found, set())

    def test_writes_wait_for_room_and_reads_do_not(self) -> None:
        try:
            self.server = SmallDiskServer()
        except NoSmallDisk as reason:
            print(f"test_disk_full shows nothing, no file system can be mounted: {reason}")
            return
        self.addCleanup(self.server.close)
        self.acknowledged, self.written = [], 0
        for _ in range(50):
            self.assertEqual(self.write(), 204)
        self.server.fill()
        wait_for("writes to be refused", lambda: self.write() == 503)
        self.check()
        self.server.process.check_alive()
        self.assertIn("mytsdb_storage_writes_refused 1\n", self.server.request("GET", "/metrics")[1])

        # It starts on a disk without a byte of room, and answers.
        self.server.process.stop(signal.SIGKILL)
        self.server.fill()
        self.server.start()
        self.check()
        wait_for("writes to be refused", lambda: self.write() == 503)

        self.server.make_room()
        wait_for("writes to be taken again", lambda: self.write() == 204, seconds=10)
        self.check()
        self.server.process.stop(signal.SIGKILL)
        self.server.start()
        self.check()
        self.assertEqual(self.server.process.stop(signal.SIGTERM), 0)

