"""One connection to Redis, and what each of its errors means for a reader that owns its own retries.

redis-py makes the connection (address, TLS, authentication, keepalive) and never retries on it: it would send
``XREADGROUP >`` again after a lost reply, and the entries of that reply would stay pending, unseen.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from redis import exceptions as errors
from redis.backoff import EqualJitterBackoff, NoBackoff
from redis.connection import AbstractConnection, Connection, SSLConnection, UnixDomainSocketConnection, parse_url
from redis.retry import Retry

from fastwin.config import redacted
from fastwin.errors import ConfigError, SourceError

__all__ = [
    "Argument",
    "GroupExistsError",
    "GroupGoneError",
    "Link",
    "LinkDownError",
    "Outage",
    "WrongTypeError",
]

Argument = bytes | str | int
"""One word of a command."""

# redis-py has no types here.
_parse_url: Final[Callable[[str], dict[str, Any]]] = parse_url

_CONNECT_SECONDS: Final = 5.0
_READ_SIZE: Final = 1 << 18

# What Redis answers while something passes: a fail-over, a restart, a full memory, a script that takes long.
_PASSING: Final = frozenset({"UNBLOCKED", "MISCONF", "NOREPLICAS", "BUSY"})


class LinkDownError(Exception):
    """The connection is gone or the server cannot serve now: connect again after a while."""


class GroupGoneError(Exception):
    """The stream or its consumer group has vanished."""


class GroupExistsError(Exception):
    """The consumer group to create is there already."""


class WrongTypeError(Exception):
    """A key is there and is no stream."""


_MEANINGS: Final[dict[str, type[Exception]]] = {
    "NOGROUP": GroupGoneError,
    "BUSYGROUP": GroupExistsError,
    "WRONGTYPE": WrongTypeError,
}


class Link:
    """One connection; it connects at the first command after it was opened or closed."""

    def __init__(self, url: str, *, timeout: float, name: str) -> None:
        """Prepare a connection to `url` that gives up after `timeout` seconds without a byte of an awaited reply.

        Raises:
            ConfigError: `url` is not a URL of Redis.
        """
        try:
            options = _parse_url(url)
        except ValueError as error:
            raise ConfigError(f"source.url: it is a Redis URL such as redis://localhost:6379/0: {error}") from None
        kind: type[AbstractConnection] = options.pop("connection_class", Connection)
        options.pop("max_connections", None)
        options.update(
            protocol=2,  # in RESP3 a reply is a map and pushes may come between
            decode_responses=False,
            socket_timeout=timeout,
            socket_connect_timeout=min(timeout, _CONNECT_SECONDS),
            socket_read_size=_READ_SIZE,
            retry_on_timeout=False,
            retry=Retry(NoBackoff(), 0),
            client_name=name,
            health_check_interval=0,
        )
        if kind is not UnixDomainSocketConnection:
            options.update(socket_keepalive=True, socket_keepalive_options=_keepalive())
        if kind is SSLConnection:
            options.setdefault("ssl_check_hostname", options.get("ssl_cert_reqs") != "none")
        self.url = redacted(url)
        self.connected = False
        """Whether there is a connection, as far as is known here."""
        try:
            self._connection: Any = kind(**options)
        except (TypeError, errors.RedisError) as error:
            raise ConfigError(f"source.url: an option of it is not one that redis-py takes: {error}") from None

    def call(self, *command: Argument) -> Any:
        """Return the reply to `command`, bytes as bytes.

        Raises:
            LinkDownError, GroupGoneError, GroupExistsError, WrongTypeError: see there.
            SourceError: the command will not work, however often it is tried.
        """
        return self.send([command])[0]

    def transaction(self, commands: Iterable[Sequence[Argument]]) -> list[Any]:
        """Run `commands` as one MULTI/EXEC and return their replies; raises what `call` raises."""
        replies = self.send([("MULTI",), *commands, ("EXEC",)])[-1]
        for reply in replies:
            if isinstance(reply, Exception):
                raise self._meaning(reply)
        return list(replies)

    def send(self, commands: Sequence[Sequence[Argument]]) -> list[Any]:
        """Send `commands` in one go and return their replies; raises what `call` raises, for the first that fails."""
        replies: list[Any] = []
        failed: Exception | None = None
        try:
            self._connection.connect()
            self.connected = True
            self._connection.send_packed_command(self._connection.pack_commands(commands), check_health=False)
            for _ in commands:
                try:
                    replies.append(self._connection.read_response())
                except errors.ResponseError as error:
                    # The replies behind it still have to be read, or the next command would get them.
                    failed = failed or error
        except (errors.RedisError, OSError) as error:
            self.close()
            raise self._meaning(error) from error
        if failed is not None:
            meaning = self._meaning(failed)
            if isinstance(meaning, LinkDownError):
                self.close()
            raise meaning from failed
        return replies

    def close(self) -> None:
        """Close the connection, if there is one."""
        self.connected = False
        self._connection.disconnect()

    def _meaning(self, error: Exception) -> Exception:
        text = str(error)
        word = text.partition(" ")[0]
        if isinstance(error, errors.AuthenticationError | errors.AuthorizationError):
            return SourceError(
                f"{self.url}: the user and password in the URL are those of a Redis user; Redis answers: {text}"
            )
        if isinstance(error, errors.NoPermissionError):
            return SourceError(
                f"{self.url}: the Redis user may run XREADGROUP, XACK, XGROUP, XINFO, XRANGE, XCLAIM, TYPE, MULTI and "
                f"EXEC on the streams, and HSET, HGETALL and DEL on fastwin:*; Redis answers: {text}"
            )
        if isinstance(error, errors.MovedError | errors.AskError | errors.ClusterCrossSlotError):
            return SourceError(
                f"{self.url}: the source is one Redis server; this one is a node of a cluster and answers: {text}"
            )
        if (
            isinstance(
                error,
                errors.ConnectionError
                | errors.TimeoutError
                | errors.ReadOnlyError
                | errors.ClusterError
                | errors.TryAgainError
                | errors.OutOfMemoryError
                | errors.ExecAbortError
                | errors.InvalidResponse
                | OSError,
            )
            or word in _PASSING
        ):
            return LinkDownError(text)
        if text.endswith("no such key"):
            return GroupGoneError(text)
        if word in _MEANINGS:
            return _MEANINGS[word](text)
        return SourceError(f"{self.url}: Redis refuses the command: {text}")


class Outage:
    """How long to wait between tries while the server is away: exponential, with jitter, 2 s at most."""

    def __init__(self) -> None:
        self._backoff = EqualJitterBackoff(cap=2.0, base=0.05)
        self.tries = 0

    def __bool__(self) -> bool:
        return self.tries > 0

    def failed(self) -> float:
        """Count one more failure and return the seconds to wait before the next try."""
        self.tries += 1
        return self._backoff.compute(min(self.tries, 10))  # it computes 2**tries before it caps it

    def over(self) -> None:
        """Forget the failures."""
        self.tries = 0


def _keepalive() -> dict[int, int]:
    # A link that is cut without a word is noticed within 45 s even where no request is under way.
    names = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}
    return {getattr(socket, name): value for name, value in names.items() if hasattr(socket, name)}
