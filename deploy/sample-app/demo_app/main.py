"""From the environment to an application: what gunicorn starts (`demo_app.main:sender()`, `demo_app.main:receiver()`).

Runs in gunicorn's worker, after the fork: the threads that send telemetry would not survive one.
"""

from collections.abc import Callable

from flask import Flask

from demo_app import receiver as receiver_service
from demo_app import sender as sender_service
from demo_app.settings import Settings
from demo_app.telemetry import Telemetry

_running: list[Telemetry] = []


def sender() -> Flask:
    return start("sender-service", sender_service.create)


def receiver() -> Flask:
    return start("receiver-service", receiver_service.create)


def start(default_service_name: str, create: Callable[[Settings], Flask]) -> Flask:
    settings = Settings.read(default_service_name)
    _running.append(Telemetry(settings))
    return create(settings)


def shutdown() -> None:
    """Sends what telemetry is left; called by gunicorn when its worker ends."""
    while _running:
        _running.pop().shutdown()
