"""Services: which there are, and that none ends well unless it was asked to end."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from workflow.domain.errors import ConfigurationError, TransientError
from workflow.engine import services
from workflow.engine.services import run_service, wanted_services
from workflow.settings import Settings, load_settings


@pytest.fixture
def settings(tmp_path) -> Settings:
    return load_settings(None, home=tmp_path / "home")


@pytest.fixture(autouse=True)
def own_process() -> Iterator[None]:
    """What a service changes of its process is put back."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    umask = os.umask(0o022)
    yield
    os.umask(umask)
    for number, handler in before.items():
        signal.signal(number, handler)


@dataclass
class Ends:
    """A service that ends as it is told to."""

    by: BaseException | None = None
    is_asked: bool = False

    def __call__(self, settings, stop) -> None:
        if self.is_asked:
            os.kill(os.getpid(), signal.SIGTERM)
            stop.wait(5)
        if self.by is not None:
            raise self.by


@pytest.mark.parametrize("by", [None, SystemExit(0), SystemExit(1)])
def test_a_service_that_ends_by_itself_does_not_end_well(settings, monkeypatch, by):
    monkeypatch.setitem(services.SERVICES, "reconciler", Ends(by=by))
    with pytest.raises(TransientError, match="reconciler ended by itself"):
        run_service("reconciler", settings)
    assert not (settings.home / "run" / "reconciler.pid").exists()


def test_a_service_that_was_asked_to_end_ends_well(settings, monkeypatch):
    monkeypatch.setitem(services.SERVICES, "reconciler", Ends(by=SystemExit(0), is_asked=True))
    run_service("reconciler", settings)


def test_without_settings_everything_embedded_is_wanted(settings):
    assert wanted_services(settings) == ["archive", "listener", "reconciler", "worker", "web"]


def test_a_service_that_is_not_there_is_named(settings):
    with pytest.raises(ConfigurationError, match="no service nothing; there are archive, listener"):
        run_service("nothing", settings)


def test_a_queue_that_nothing_is_sent_to_and_an_inference_in_everybodys_way_are_refused():
    with pytest.raises(ConfigurationError, match="nothing is sent to the queue gpu"):
        load_settings(None, worker={"queues": ["pipeline", "gpu"]})
    with pytest.raises(ConfigurationError, match="everything else would wait"):
        load_settings(None, worker={"inference_queue": "pipeline", "queues": ["pipeline"]})
    other = load_settings(None, worker={"inference_queue": "sam", "queues": ["sam"]})
    assert other.worker.queues == ("sam",)
