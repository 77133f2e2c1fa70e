"""How the services are served: one process, some threads, nothing written to disk but for a heartbeat in memory."""

import os
from pathlib import Path

bind = f"{os.environ.get('BIND_HOST', '0.0.0.0')}:{os.environ.get('PORT', '8000')}"
# One process has one identity (`service.instance.id`) and one set of counters. More load: more pods.
workers = 1
threads = int(os.environ.get("THREADS", "16"))
# Running requests have this long when SIGTERM comes; then telemetry is flushed.
graceful_timeout = 20
keepalive = 65
control_socket_disable = True
loglevel = "info"
# The root file system may be read-only; this one is memory.
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None


def worker_exit(_server, _worker) -> None:
    from demo_app import main

    main.shutdown()
