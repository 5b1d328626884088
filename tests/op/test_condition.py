import pytest
from pydantic import ValidationError

from flowgauge_operator import condition
from flowgauge_operator.condition import Condition, Status


def made(**more):
    return {"type": "Ready", "status": "True", "reason": "R", "last_transition_time": "t"} | more


def test_types_build_on_each_other_in_this_order():
    assert condition.types() == ("Accepted", "Provisioned", "Loaded", "Healthy", "Ready")


@pytest.mark.parametrize("kind", condition.types())
@pytest.mark.parametrize("status", ["True", "False", "Unknown"])
def test_a_condition_is_written_as_kubernetes_writes_it(kind, status):
    written = Condition(**made(type=kind, status=status)).model_dump(by_alias=True)

    assert written == {
        "type": kind,
        "status": status,
        "reason": "R",
        "message": "",
        "observedGeneration": 0,
        "lastTransitionTime": "t",
    }


@pytest.mark.parametrize(
    "wrong", [{"type": "Fine"}, {"status": "true"}, {"reason": "x" * 65}, {"message": "x" * 4097}]
)
def test_what_the_schema_would_refuse_is_refused_here(wrong):
    with pytest.raises(ValidationError):
        Condition(**made(**wrong))


def test_an_empty_status_claims_nothing():
    assert Status().model_dump(by_alias=True, exclude_none=True) == {
        "observedGeneration": 0,
        "conditions": [],
        "missingFamilies": [],
        "slos": [],
        "resources": [],
    }
