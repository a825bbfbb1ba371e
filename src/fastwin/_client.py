"""A redis-py client for tools: it fails at once and says why, where a worker would try again."""

from __future__ import annotations

from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from fastwin.config import check_redis_url, redacted
from fastwin.errors import ConfigError

__all__ = ["client"]


def client(url: str, seconds: float = 5.0) -> Any:
    """Return a client for `url` that waits up to `seconds` for a connection and for each reply.

    Typed as Any: redis-py's stubs make every reply a union with its awaitable twin.

    Raises:
        ConfigError: `url` is not one that redis-py reads.
    """
    found = f"found {redacted(url)!r}"
    try:
        check_redis_url(url)
        return redis.Redis.from_url(
            url, socket_connect_timeout=seconds, socket_timeout=seconds, retry=Retry(NoBackoff(), 0)
        )
    except ConfigError as error:
        raise ConfigError(f"url: {error}; {found}") from None
    except ValueError:
        # What redis-py says holds parts of the URL, which may be of the password.
        raise ConfigError(f"url: it is a Redis URL such as redis://localhost:6379/0; {found}") from None
