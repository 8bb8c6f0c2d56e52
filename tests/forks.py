"""Snippets of code in processes of their own, forked from one interpreter that has imported little.

What a process has imported by the end, and what several do at the same time, needs fresh processes; a cold start of
torch costs each some seconds. The interpreter ends by itself when whoever started it is gone.
"""

import importlib
import json
import os
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple


class Ended(NamedTuple):
    """How a snippet ended: code 1 is that of whatever it raised."""

    code: int
    out: str
    err: str


class Forks:
    """Use it as a context.

    Args:
        modules: What every snippet finds imported.
        environment: More of it, for the imports and for every snippet.
    """

    def __init__(self, *modules: str, environment: Mapping[str, str] | None = None) -> None:
        # Without its own folder in the path: modules of the tests would hide others.
        command = [sys.executable, "-P", __file__, *modules]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
        )

    def __enter__(self) -> "Forks":
        return self

    def __exit__(self, *raised: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def run(self, code: str, *words: str, times: int = 1, environment: Mapping[str, str] | None = None) -> list[Ended]:
        """Run a snippet, `times` at the same time, and wait for all; `words` follow in its `sys.argv`.

        Its environment is this process's as it is now.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with tempfile.TemporaryDirectory() as folder:
            order = {"code": code, "words": words, "times": times, "folder": folder}
            order["environment"] = {**os.environ, **(environment or {})}
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
            assert answer, "the interpreter has ended, and says why on stderr"
            codes = json.loads(answer)
            texts = [[Path(folder, f"{at}.{name}").read_text() for name in ("out", "err")] for at in range(times)]
        return [Ended(code, *both) for code, both in zip(codes, texts, strict=True)]


def _serve(modules: list[str]) -> None:
    for name in modules:
        importlib.import_module(name)
    for line in sys.stdin:
        order = json.loads(line)
        children = [_forked(order, at) for at in range(order["times"])]
        codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        print(json.dumps(codes), flush=True)


def _forked(order: dict[str, Any], at: int) -> int:
    if child := os.fork():
        return child
    code = 1
    try:
        for name, number in (("out", 1), ("err", 2)):
            os.dup2(os.open(f"{order['folder']}/{at}.{name}", os.O_WRONLY | os.O_CREAT), number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.environ.update(order["environment"])
        sys.argv = ["-c", *order["words"]]
        exec(compile(order["code"], "<snippet>", "exec"), {"__name__": "__main__"})
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        # Nothing of the parent's is to be tidied up here.
        os._exit(code)


if __name__ == "__main__":
    _serve(sys.argv[1:])
