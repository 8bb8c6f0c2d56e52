"""A server that speaks Ray's Jobs REST and runs nothing: jobs that print a line each second, and end on time."""

import sys
import time

from aiohttp import WSMsgType, web

REPORT = '{"run_id": "bench", "table": "t.lance", "version": 1, "listed": 0}\n'


class Jobs:
    """All jobs there are, whatever their ids; each lives for `seconds` from the first time it is asked about."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._began: dict[str, float] = {}

    def app(self) -> web.Application:
        """The routes that the operator and its trigger use."""
        app = web.Application()
        app.router.add_get("/api/jobs/{id}", self.info)
        app.router.add_get("/api/jobs/{id}/logs", self.logs)
        app.router.add_get("/api/jobs/{id}/logs/tail", self.tail)
        return app

    async def info(self, request: web.Request) -> web.Response:
        """The state."""
        over = self._age(request) >= self._seconds
        return web.json_response({"status": "SUCCEEDED" if over else "RUNNING"})

    async def logs(self, request: web.Request) -> web.Response:
        """The whole log."""
        lines = self._lines(self._age(request)) + (REPORT if self._age(request) >= self._seconds else "")
        return web.json_response({"logs": lines})

    async def tail(self, request: web.Request) -> web.WebSocketResponse:
        """The log as it grows."""
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        sent = 0
        while (age := self._age(request)) < self._seconds and not socket.closed:
            text = self._lines(age)
            if text[sent:]:
                await socket.send_str(text[sent:])
                sent = len(text)
            try:
                message = await socket.receive(timeout=1)
            except TimeoutError:
                continue
            if message.type in (WSMsgType.CLOSE, WSMsgType.CLOSED, WSMsgType.CLOSING):
                break
        return socket

    def _age(self, request: web.Request) -> float:
        began = self._began.setdefault(request.match_info["id"], time.monotonic())
        return time.monotonic() - began

    def _lines(self, age: float) -> str:
        return "".join(f"embed: {second} of {self._seconds:.0f} images\n" for second in range(int(age)))


if __name__ == "__main__":
    web.run_app(Jobs(float(sys.argv[2])).app(), host="127.0.0.1", port=int(sys.argv[1]), print=None)
