"""Locust's users of the sender: nine messages for one look at its health.

`locust --headless --users 20 --spawn-rate 5 --run-time 10m --host http://sender-service:8000`; without `--headless` there is
a page on port 8089. `TARGET_HOST` is the host if `--host` is not given. With `--stop-timeout` every request that was sent is
counted: users finish what they began.
"""

import os
import uuid

from locust import FastHttpUser, between, task


class Sender(FastHttpUser):
    host = os.environ.get("TARGET_HOST", "http://sender-service:8000")
    wait_time = between(float(os.environ.get("WAIT_MIN_S", "0.1")), float(os.environ.get("WAIT_MAX_S", "0.5")))

    @task(9)
    def send(self) -> None:
        message = {"request_id": str(uuid.uuid4()), "message": "hello", "data": {"from": "loadgen"}}
        self.client.post("/send", json=message, name="/send")

    @task(1)
    def health(self) -> None:
        self.client.get("/health", name="/health")
