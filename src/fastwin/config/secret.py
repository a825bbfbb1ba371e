"""What must not be shown, and how it is shown instead."""

from __future__ import annotations

import re
from typing import Final

from pydantic import Secret

__all__ = ["SecretUrl", "is_secret_name", "redacted", "redacted_line"]

MASK: Final = "***"

_SECRET_NAME: Final = re.compile(r"passw|passphrase|pwd|token|secret|credential|api_?key|private_?key", re.IGNORECASE)
_SECRET_OPTION: Final = re.compile(
    r"([?&;][^=&;]*(?:pass|pwd|token|secret|key|auth)[^=&;]*=)[^&;\s'\"]*", re.IGNORECASE
)
_USER_IN_LINE: Final = re.compile(r"(\w://)[^\s'\"]*@")


def is_secret_name(name: str) -> bool:
    """Return whether a key of this name holds a secret."""
    return _SECRET_NAME.search(name) is not None


def redacted(url: str) -> str:
    """Return `url` without its password and secret options: ``redis://user:***@host/0``.

    It takes more rather than less: everything between ``://`` and the last ``@`` is the user and the password.
    """
    scheme, mark, rest = url.partition("://")
    if not mark:
        return _SECRET_OPTION.sub(rf"\1{MASK}", url)
    user, at, host = rest.rpartition("@")
    if at:
        name, colon, _ = user.partition(":")
        user = f"{name}:{MASK}" if colon else MASK
    elif re.match(r"[^/?:\[]*:(?![0-9]{0,5}(?:[/?#]|$))", host):
        # No host, and what stands in the place of the port is none: a password whose @host was forgotten.
        host = f"{host.partition(':')[0]}:{MASK}"
    return f"{scheme}://{user}{at}{_SECRET_OPTION.sub(rf'{chr(92)}1{MASK}', host)}"


def redacted_line(line: str) -> str:
    """Return a line of text with the user and password of every URL in it masked."""
    return _SECRET_OPTION.sub(rf"\1{MASK}", _USER_IN_LINE.sub(rf"\1{MASK}@", line))


class SecretUrl(Secret[str]):
    """A URL that shows itself `redacted`; ``get_secret_value()`` gives the URL to connect with."""

    def _display(self) -> str:
        return redacted(self.get_secret_value())
