"""A call to a server on loopback, past every proxy."""

import json
import urllib.error
import urllib.request
from typing import Any

from clipflow_airflow.stack.errors import ApiError

_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def call(url: str, method: str = "GET", body: Any = None, token: str | None = None, seconds: float = 30) -> Any:
    """Send JSON, get JSON (or text, or None when the answer is empty).

    Raises:
        ApiError: The server answered with an error.
        OSError: No server answered.
    """
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"} | ({} if token is None else {"Authorization": f"Bearer {token}"})
    request = urllib.request.Request(url, data=data, headers=headers, method=method)
    try:
        with _direct.open(request, timeout=seconds) as answer:
            text = answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            said = error.read().decode(errors="replace")[:500]
        raise ApiError(f"{method} {url} was answered by {error.code}: {said}", status=error.code) from None
    try:
        return json.loads(text) if text else None
    except ValueError:
        return text
