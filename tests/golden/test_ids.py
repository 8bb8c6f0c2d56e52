"""Ids that stand in tables, in Airflow's database and on Ray's dashboard: the same for ever.

The values were taken from the version that README.md names and are no business of the code that is tested.
"""

import json
from itertools import islice
from typing import Any

import pytest

from clipflow.encoders import describe
from clipflow.encoders.families import FAMILIES
from clipflow.encoders.fingerprint import preprocess_fp
from clipflow.encoders.geometry import Geometry, read_geometry
from clipflow.spec import EncoderSpec, JobSpec, PolicySpec
from clipflow.uri import canonical, former, image_id
from clipflow_airflow.submission import TaskKey
from tests.golden.reading import HERE

Case = dict[str, Any]
IDS: dict[str, list[Case]] = json.loads((HERE / "ids.json").read_text("utf-8"))


@pytest.mark.parametrize("case", IDS["encoders"])
def test_an_encoder_keeps_its_id(case: Case) -> None:
    info = describe(EncoderSpec.model_validate(case["spec"]), case["decode"])
    for name in ("dim", "checkpoint_fp", "preprocess_fp", "encoder_id"):
        assert getattr(info, name) == case[name], name


@pytest.mark.parametrize("case", IDS["policies"])
def test_a_policy_keeps_its_id(case: Case) -> None:
    assert PolicySpec.model_validate(case["policy"]).policy_id == case["policy_id"]


@pytest.mark.parametrize("case", IDS["jobs"])
def test_a_job_keeps_its_fingerprint(case: Case) -> None:
    spec = JobSpec.model_validate(case["job"])
    assert spec.fingerprint == case["fingerprint"]
    # As the runs table holds it.
    assert JobSpec.model_validate(spec.body()).fingerprint == case["fingerprint"]


@pytest.mark.parametrize("case", IDS["images"])
def test_an_image_keeps_its_address_and_id(case: Case) -> None:
    now = canonical(case["address"])
    # Names that are not UTF-8 have got addresses of their own; their rows are found under the former ones.
    assert (former(now) or now) == case["source_uri"]
    assert canonical(case["source_uri"]) == case["source_uri"]
    assert image_id(case["source_uri"]) == case["image_id"]


@pytest.mark.parametrize("case", IDS["tasks"])
def test_a_task_finds_its_jobs_again(case: Case) -> None:
    assert list(islice(TaskKey(**case["task"]).submission_ids(), 3)) == case["submission_ids"]


@pytest.mark.parametrize("case", IDS["families"])
def test_preprocessing_of_a_family_keeps_its_fingerprint(case: Case) -> None:
    geometry = read_geometry(case["config"], FAMILIES[case["family"]].processor)
    assert json.loads(json.dumps(geometry.body())) == case["geometry"]
    assert preprocess_fp(geometry) == case["preprocess_fp"]
    assert preprocess_fp(Geometry.from_body(case["geometry"])) == case["preprocess_fp"]


def test_no_family_is_left_out() -> None:
    # A family that came later has no golden value here.
    assert {case["family"] for case in IDS["families"]} <= FAMILIES.keys()
