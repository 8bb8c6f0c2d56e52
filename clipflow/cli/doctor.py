"""`clipflow doctor`: try every part of a job without doing it."""

import argparse
from typing import Any

from clipflow.cli.job import add_job
from clipflow.cli.parser import Answer, add_verb


def add(verbs: Any) -> None:
    """The verb."""
    doctor = add_verb(
        verbs,
        "doctor",
        "check storage, encoder, policy, Ray and table",
        _doctor,
        "Try every part of a job without doing it.",
    )
    add_job(doctor)
    doctor.add_argument("--ray", metavar="none|local|ADDRESS", help="the cluster to check (default: none)")


def _doctor(call: argparse.Namespace) -> Answer:
    from clipflow.doctor import examine

    found = examine(call.job, call.set, call.interval, call.ray)
    return found.document(), found.text()
