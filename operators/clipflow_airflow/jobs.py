"""Ray's Jobs REST, by aiohttp: Airflow's image holds no ray.

ClusterError (of clipflow.errors)
├── Unreachable      nobody answers at the address; retry
├── Disconnected     the log's WebSocket broke off, or was refused; says whether a retry can help
├── WrongConnection  its token, certificate or address is not the right one; final
└── Refused          Ray answered, and will not take this request; final
"""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import aiohttp

from clipflow.errors import ClusterError
from clipflow_airflow.report import last_line

ALIVE = ("PENDING", "RUNNING")

# A long log may take its time as long as it moves.
_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=60)
_AGENT_SECONDS = 90.0
_NOT_YET = 500
_PING_SECONDS = 30.0


class Unreachable(ClusterError):
    """Nobody answers at the address."""


class Disconnected(ClusterError):
    """The log's WebSocket broke off, or was refused.

    Args:
        retryable: Whether it is worth trying again.
    """

    def __init__(self, message: str, mend: str = "", *, retryable: bool = True) -> None:
        super().__init__(message, mend)
        self.retryable = retryable


class WrongConnection(ClusterError):
    """The connection's token, certificate or address is not the right one."""

    retryable = False


class Refused(ClusterError):
    """Ray answered, and will not take this request."""

    retryable = False


@dataclass(frozen=True)
class Address:
    """Where Ray's dashboard answers, and how to be let in.

    Args:
        url: Scheme, host and port, without a slash at the end.
        token: Sent as a bearer token.
        headers: Further headers, for a proxy.
        verify: Whether a TLS certificate must be trusted.
        ca_file: The certificates to trust, instead of the system's.
        poll_seconds: The pause between two questions about a job.
    """

    url: str
    token: str | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    verify: bool = True
    ca_file: str | None = None
    poll_seconds: float = 5.0


class RayJobs:
    """One open session with the Jobs REST; use it as `async with`."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        headers = dict(self.address.headers)
        if self.address.token:
            headers["Authorization"] = f"Bearer {self.address.token}"
        secure = self.address.url.startswith("https")
        # Reading the system's certificates takes some 20 ms: too long for a loop that others share.
        trust = await asyncio.to_thread(self._trust) if secure and self.address.verify else False
        connector = aiohttp.TCPConnector(ssl=trust)
        self._session = aiohttp.ClientSession(headers=headers, connector=connector, timeout=_TIMEOUT)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    def _trust(self) -> ssl.SSLContext:
        try:
            return ssl.create_default_context(cafile=self.address.ca_file)
        except OSError as error:
            raise WrongConnection(
                f"The CA file {self.address.ca_file} cannot be used ({error.strerror or error}).",
                "Name a PEM file that lies on the worker.",
            ) from None

    async def version(self) -> str:
        """The version of Ray that answers."""
        _, text = await self._ask("GET", "/api/version")
        return str(json.loads(text)["ray_version"])

    async def answer(self, seconds: float) -> None:
        """Wait for a cluster that is still coming up.

        Raises:
            Unreachable: It does not answer within so many seconds.
        """
        deadline = asyncio.get_running_loop().time() + seconds
        while True:
            try:
                await self.version()
                return
            except Unreachable:
                if asyncio.get_running_loop().time() > deadline:
                    raise
                await asyncio.sleep(self.address.poll_seconds)

    async def submit(self, request: Mapping[str, Any]) -> bool:
        """Start a job; False when its submission id exists already, which is how two starters become one."""
        deadline = asyncio.get_running_loop().time() + _AGENT_SECONDS
        while True:
            status, text = await self._ask("POST", "/api/jobs/", request)
            if status < 400:
                return True
            if "already exists" in text:
                return False
            # A head that has just started has no agent yet and answers 500; what its agent itself
            # turned down arrives as a 500 too, and says 400 inside.
            waits = status >= _NOT_YET and "status code 400" not in text
            if not waits or asyncio.get_running_loop().time() > deadline:
                raise Refused(
                    f"Ray at {self.address.url} did not take the job: {last_line(text) or 'no reason given'}."
                )
            await asyncio.sleep(1)

    async def info(self, submission_id: str) -> dict[str, Any] | None:
        """What Ray knows about a job; None when it knows no such job."""
        status, text = await self._ask("GET", f"/api/jobs/{submission_id}")
        if status == 404:
            return None
        self._check(status, text)
        found: dict[str, Any] = json.loads(text)
        return found

    async def logs(self, submission_id: str) -> str:
        """All that the job has printed."""
        status, text = await self._ask("GET", f"/api/jobs/{submission_id}/logs")
        self._check(status, text)
        return str(json.loads(text)["logs"] or "")

    async def tail(self, submission_id: str) -> AsyncIterator[str]:
        """What the job has printed, from its beginning, and what it prints, until it is over.

        Raises:
            Disconnected: Before it was over.
        """
        assert self._session is not None, "use `async with`"
        url = f"{self.address.url}/api/jobs/{submission_id}/logs/tail"
        try:
            async with self._session.ws_connect(url, heartbeat=_PING_SECONDS, max_msg_size=0) as socket:
                async for message in socket:
                    if message.type is aiohttp.WSMsgType.TEXT:
                        yield message.data
        except aiohttp.WSServerHandshakeError as error:
            refused = f"{self.address.url} passes no WebSocket ({error.status})."
            raise Disconnected(refused, retryable=error.status >= _NOT_YET) from None
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Disconnected(f"The log of {submission_id} broke off ({_reason(error)}).") from None

    async def stop(self, submission_id: str) -> None:
        """Ask Ray to end a job; a job that is over or unknown is left alone."""
        status, text = await self._ask("POST", f"/api/jobs/{submission_id}/stop")
        if status != 404:
            self._check(status, text)

    def _check(self, status: int, text: str) -> None:
        if status >= 400:
            raise Unreachable(f"Ray at {self.address.url} answered {status}: {last_line(text) or 'no reason given'}.")

    async def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> tuple[int, str]:
        assert self._session is not None, "use `async with`"
        url = self.address.url
        try:
            async with self._session.request(method, url + path, json=body, allow_redirects=False) as answer:
                status, text = answer.status, await answer.text()
        except aiohttp.ClientSSLError:
            raise WrongConnection(
                f"The TLS certificate of {url} is not trusted.", "Name its CA file in the connection."
            ) from None
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unreachable(
                f"No Ray cluster answers at {url} ({_reason(error)}).", "Start it, or correct the connection."
            ) from None
        if status in (401, 403):
            what = "asks for a token" if status == 401 and not self.address.token else "does not accept the token"
            raise WrongConnection(f"Ray at {url} {what} ({status}).", "Set the connection's password to Ray's token.")
        if 300 <= status < 400:
            raise WrongConnection(
                f"{url} redirects instead of answering ({status}).", "Name Ray's own address, or a token for the proxy."
            )
        return status, text


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
