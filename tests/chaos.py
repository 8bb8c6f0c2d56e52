"""Look for what `make test` cannot find: random histories that nobody has tried, and hundreds of kills.

    python -m tests.chaos --minutes 30 --seed 7

Rounds follow each other until the minutes are over. Each has a seed of its own, which decides every example and every
moment of a kill; a red round ends with the line that replays it. Examples that failed once are kept in .hypothesis/
and tried first. A round is cut between two tests when the minutes are over, never within one.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

from tests.examples import PROFILE, SEED, UNTIL

ROOT = Path(__file__).parents[1]
# The laws over random histories, and every test that kills.
TESTS = ["laws", "forget", "table", "migrate", "policy", "audit", "test_decode.py", "test_uri.py", "test_jobfile.py"]


def main() -> int:
    """Run rounds; 1 when one was red."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=30, help="no test begins later; default: %(default)g")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the first round; default: the clock")
    parser.add_argument("--rounds", type=int, help="this many at most; 1 replays one")
    parser.add_argument(
        "tests",
        nargs="*",
        default=[f"tests/{name}" for name in TESTS],
        help="default: the laws, and every test that kills",
    )
    given = parser.parse_args()
    until, done, red = time.time() + 60 * given.minutes, 0, []
    while time.time() < until and done != given.rounds:
        seed = given.seed + done
        print(f"=== round {done + 1}, seed {seed}, {max(0.0, until - time.time()) / 60:.0f} min left", flush=True)
        if round_of(seed, until, given.tests):
            red.append(seed)
            print(f"=== RED; again: python -m tests.chaos --seed {seed} --rounds 1 {' '.join(given.tests)}", flush=True)
        done += 1
    print(f"=== {done} rounds, {len(red)} red{'' if not red else ': seeds ' + ', '.join(map(str, red))}")
    return 1 if red else 0


def round_of(seed: int, until: float, tests: list[str]) -> bool:
    """One round; whether it was red."""
    command = [sys.executable, "-m", "pytest", "-n", "2", "--dist", "loadgroup", "--no-loadscope-reorder", "-rP"]
    command += [f"--hypothesis-seed={seed}", "--timeout=3600", *tests]
    environment = {**os.environ, PROFILE: "deep", SEED: str(seed), UNTIL: str(until)}
    # 5: the time was over before the first test.
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode not in (0, 5)


if __name__ == "__main__":
    sys.exit(main())
