"""How many random examples a property test takes: few and always the same, or many that nobody has seen.

`make test` proves every law on the same few examples each time, so that red means a change. `make chaos` looks for
new ones: other examples each time, those that failed once first.
"""

import os
import random
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis.database import DirectoryBasedExampleDatabase

PROFILE, SEED, UNTIL = "CF_TEST_PROFILE", "CF_TEST_SEED", "CF_TEST_UNTIL"
FAILED_ONCE = Path(__file__).parents[1] / ".hypothesis" / "examples"
# How many times as many examples the deep profile takes.
_DEEPER = 20
# A busy machine is no reason to fail.
_ALWAYS = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


def load_profile() -> None:
    """Make the profile that the environment names the default: `quick` or `deep`."""
    settings.register_profile("quick", _ALWAYS, max_examples=40, derandomize=True, database=None)
    settings.register_profile(
        "deep", _ALWAYS, max_examples=1000, print_blob=True, database=DirectoryBasedExampleDatabase(FAILED_ONCE)
    )
    settings.load_profile("deep" if _deep() else "quick")


def examples(quick: int, *, deep: int | None = None) -> settings:
    """The profile with a number of examples that fits what one of them costs.

    Args:
        quick: In `make test`.
        deep: In one round of `make chaos`; twenty times as many if not given.
    """
    return settings(max_examples=(deep or _DEEPER * quick) if _deep() else quick)


def chances(name: str) -> random.Random:
    """The dice of a test that kills: always the same in `make test`, others in each round of `make chaos`."""
    return random.Random(f"{os.environ.get(SEED, '0')} {name}")


def turns(quick: int) -> int:
    """How often a test that kills does so: some in `make test`, five times as many in a round of `make chaos`."""
    return 5 * quick if _deep() else quick


def _deep() -> bool:
    return os.environ.get(PROFILE) == "deep"
