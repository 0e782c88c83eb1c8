"""Fixtures of the integration tests: each server is started once per worker of the test run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import servers


@pytest.fixture
def orthanc(tmp_path) -> Iterator[servers.OrthancServer]:
    server = servers.OrthancServer(tmp_path / "orthanc").start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def postgresql_server(tmp_path_factory) -> Iterator[str]:
    with servers.postgresql(tmp_path_factory.mktemp("postgresql")) as url:
        yield url


@pytest.fixture
def postgresql_database(postgresql_server, request) -> str:
    """URL of an empty database of this test's own."""
    return servers.new_database(postgresql_server, f"test{abs(hash(request.node.nodeid))}")


@pytest.fixture(scope="session")
def redis_broker(tmp_path_factory) -> Iterator[str]:
    with servers.redis(tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture(scope="session")
def rabbitmq_broker(tmp_path_factory) -> Iterator[str]:
    with servers.rabbitmq(tmp_path_factory.mktemp("rabbitmq")) as url:
        yield url
