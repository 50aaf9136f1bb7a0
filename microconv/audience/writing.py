"""The list of users as a file: their ids, or keyed pseudonyms; a key is read when needed and kept nowhere."""

from __future__ import annotations

import hashlib
import hmac
import os
from pathlib import Path

from microconv.errors import ParameterError, shorten

__all__ = ["LEAST_KEY", "pseudonym", "read_key"]

LEAST_KEY = 16  # bytes


def read_key(env: str | None, file: str | os.PathLike[str] | None) -> bytes | None:
    """The key of pseudonyms from an environment variable or a file (blanks at its ends cut off); None where neither is
    named. Raises ``ParameterError``, which never holds the key.
    """
    if env is None and file is None:
        return None
    if env is not None and file is not None:
        raise ParameterError("key_env= and key_file= both name a key. Give one of them.")
    if env is not None:
        text = os.environ.get(env) if isinstance(env, str) else None
        if text is None:
            raise ParameterError(
                f"key_env={shorten(repr(env))}: there is no such environment variable. Pass its name, not the key."
                if isinstance(env, str) and env.isidentifier()
                else "key_env= must be the name of an environment variable that holds the key, not the key itself."
            )
        key = text.strip().encode()
        where = "The environment variable"
    else:
        assert file is not None
        try:
            key = Path(file).read_bytes().strip()
        except (OSError, TypeError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "it is no path"
            raise ParameterError(f"key_file= cannot be read: {reason}. Name a file that holds the key.") from None
        where = "The file"
    if len(key) < LEAST_KEY:
        raise ParameterError(
            f"{where} holds {len(key)} bytes; a key has {LEAST_KEY} or more. Make one with: openssl rand -hex 32"
        )
    return key


def pseudonym(user_id: str, key: bytes) -> str:
    """HMAC-SHA256 of a user's id as 64 hexadecimal digits: the same user the same with the same key, and not to be
    reversed or guessed without it.
    """
    return hmac.new(key, user_id.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()
