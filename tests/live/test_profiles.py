"""Profiles of users' own: judged, used, changed, broken, deleted. Whoever does not use one never notices."""

from __future__ import annotations

import copy
import secrets
from importlib import resources

import pytest
import yaml

from flowgauge import profiles
from rig.kubectl import KubectlError

ACCOUNT = "system:serviceaccount:flowgauge-system:"
pytestmark = pytest.mark.cluster

PROFILE = yaml.safe_load("""
apiVersion: flowgauge.dev/v1alpha1
kind: WorkflowProfile
metadata: {name: nightly}
spec:
  title: Nightly
  description: The jobs of the nightly batch.
  scrape: {port: 9100, path: /batch}
  families:
  - name: nightly_jobs_total
    role: run.finished
    type: counter
    help: Jobs that ended, by result.
    required: true
    labels: {workflow: task, outcome: result}
    outcomes: {good: [ok], ignored: [skipped]}
    values: {outcome: [ok, error]}
  alerts:
  - name: JobsFail
    severity: warning
    summary: Jobs fail.
    description: Jobs failed in the last hour.
    threshold: 3
    expr: $increase(run.finished{outcome="bad"}[1h]) > $threshold
""")


@pytest.fixture
def profile(operator):
    """A profile under a name of its own, deleted afterwards: profiles are of the whole cluster."""
    body = copy.deepcopy(PROFILE)
    body["metadata"]["name"] = f"nightly-{secrets.token_hex(3)}"
    yield body
    operator.cluster.kubectl("delete", "wfp", body["metadata"]["name"], "--ignore-not-found")


def name_of(profile):
    return profile["metadata"]["name"]


def use(operator, namespace, profile, name="orders", **spec):
    """A workflow that uses the profile and nothing else that a profile may lack a role for."""
    spec = {"profile": name_of(profile), "slos": [], "alerts": {}, **spec}
    operator.cluster.apply([operator.workflow(namespace, name, **spec)])


def accepted(operator, profile, state):
    """The condition of a profile, as soon as it speaks of the newest spec and has this state."""

    def ask():
        found = operator.cluster.get("wfp", name_of(profile))
        status, generation = found.get("status") or {}, found["metadata"]["generation"]
        if status.get("observedGeneration") != generation:
            return None
        condition = next(c for c in status["conditions"] if c["type"] == "Accepted")
        return condition if condition["status"] == state else None

    return operator.wait(ask, f"{name_of(profile)} to be accepted: {state}")


def expressions(operator, namespace, name="orders"):
    groups = operator.get("prometheusrule", f"{name}-rules", namespace)["spec"]["groups"]
    return {
        rule.get("alert") or rule["record"]: rule["expr"]
        for group in groups
        for rule in group["rules"]
    }


def test_a_profile_is_judged_and_serves_a_workflow(operator, namespace, profile):
    operator.cluster.apply([profile])
    use(operator, namespace, profile, slos=[{"name": "good", "objective": 99, "success": {}}])

    condition = accepted(operator, profile, "True")
    operator.wait_condition("Accepted", "True", namespace)
    operator.wait_condition("Provisioned", "True", namespace)

    assert condition["reason"] == "Valid"
    assert condition["message"].startswith("1 families serve ")
    assert condition["message"].endswith(" alerts and objectives of success")
    rules = expressions(operator, namespace)
    assert 'nightly_jobs_total{namespace="' in rules["JobsFail"]
    assert 'result!~"ok|skipped"' in rules["JobsFail"]
    service = operator.get("service", "orders-metrics", namespace)
    assert service["spec"]["ports"][0]["targetPort"] == 9100
    operator.wait(
        lambda: operator.cluster.get("wfp", name_of(profile))["status"].get("workflows") == 1,
        "the profile to count its workflow",
    )


def test_a_workflow_waits_for_its_profile(operator, namespace, profile):
    use(operator, namespace, profile)

    condition = operator.wait_condition("Accepted", "False", namespace)
    assert condition["reason"] == "UnknownProfile"
    assert f"{name_of(profile)} does not exist" in condition["message"]
    assert f"create a WorkflowProfile {name_of(profile)}" in condition["message"]

    operator.cluster.apply([profile])
    operator.wait_condition("Accepted", "True", namespace)
    operator.wait_condition("Provisioned", "True", namespace)


def test_a_change_reaches_the_workflows_that_use_it_in_order_and_nobody_else(
    operator, namespace, profile
):
    operator.cluster.apply([profile])
    names = [f"w{number:02}" for number in range(12)]
    for name in names:
        use(operator, namespace, profile, name)
    operator.cluster.apply([operator.workflow(namespace, "bystander")])
    for name in (*names, "bystander"):
        operator.wait_condition("Provisioned", "True", namespace, name)
    operator.wait_quiet()
    mark = operator.cluster.audit_mark()

    profile["spec"]["alerts"][0]["threshold"] = 7
    operator.cluster.apply([profile])
    for name in names:
        operator.wait(
            lambda name=name: "> 7" in expressions(operator, namespace, name)["JobsFail"],
            f"{name} to have the new threshold",
        )
    operator.wait_quiet()

    written = [
        r.name for r in operator.writes_since(mark, namespace) if r.resource == "prometheusrules"
    ]
    assert written == [f"{name}-rules" for name in names]
    assert not [r for r in operator.writes_since(mark, namespace) if "bystander" in r.name]


def test_a_label_on_a_profile_changes_nothing(operator, namespace, profile):
    operator.cluster.apply([profile])
    use(operator, namespace, profile)
    operator.wait_condition("Provisioned", "True", namespace)
    operator.wait_quiet()
    mark = operator.cluster.audit_mark()

    operator.cluster.kubectl("label", "wfp", name_of(profile), "team=batch")
    operator.cluster.kubectl("annotate", "mwf", "orders", f"--namespace={namespace}", "a=b")
    operator.wait_quiet()

    assert operator.writes_since(mark, namespace) == []


BROKEN = [
    (
        {
            "alerts": [
                {**PROFILE["spec"]["alerts"][0], "expr": "sum($rate(run.finished[1h]) > $threshold"}
            ]
        },
        "spec.alerts.JobsFail.expr",
    ),
    (
        {"alerts": [{**PROFILE["spec"]["alerts"][0], "expr": "$rate(run.finished[1h]) > 1"}]},
        "spec.alerts[0].threshold",
    ),
    (
        {"alerts": [{**PROFILE["spec"]["alerts"][0], "expr": "$max(queue.depth) > $threshold"}]},
        "spec.alerts.JobsFail.expr: the profile",
    ),
    (
        {"families": [{**PROFILE["spec"]["families"][0], "labels": {"workflow": "namespace"}}]},
        "spec.families[0].labels.workflow: is 'namespace', which is reserved",
    ),
    (
        {"families": [{**PROFILE["spec"]["families"][0], "unit": "seconds"}]},
        "spec.families[0].unit: is seconds, but run.finished takes no unit",
    ),
]


@pytest.mark.parametrize(("change", "message"), BROKEN)
def test_an_error_stops_only_the_workflows_that_use_it_and_their_children_stay(
    operator, namespace, profile, change, message
):
    operator.cluster.apply([profile])
    use(operator, namespace, profile)
    operator.cluster.apply([operator.workflow(namespace, "bystander")])
    operator.wait_condition("Provisioned", "True", namespace)
    operator.wait_condition("Provisioned", "True", namespace, "bystander")
    before = expressions(operator, namespace)

    good = copy.deepcopy(profile)
    profile["spec"] |= change
    operator.cluster.apply([profile])

    assert message in accepted(operator, profile, "False")["message"]
    condition = operator.wait_condition("Accepted", "False", namespace)
    assert condition["reason"] == "ProfileNotAccepted"
    assert message in condition["message"]
    assert expressions(operator, namespace) == before
    assert operator.condition("Accepted", namespace, "bystander")["status"] == "True"

    operator.cluster.apply([good])
    operator.wait_condition("Accepted", "True", namespace)


def test_a_deleted_profile_that_is_in_use_is_a_condition_and_the_children_stay(
    operator, namespace, profile
):
    operator.cluster.apply([profile])
    use(operator, namespace, profile)
    operator.wait_condition("Provisioned", "True", namespace)
    before = expressions(operator, namespace)

    operator.cluster.kubectl("delete", "wfp", name_of(profile))

    condition = operator.wait_condition("Accepted", "False", namespace)
    assert condition["reason"] == "UnknownProfile"
    assert expressions(operator, namespace) == before

    operator.cluster.apply([profile])
    operator.wait_condition("Accepted", "True", namespace)


def test_the_name_of_a_built_in_profile_is_taken(operator, namespace, profile):
    """The built-in one goes on serving its workflows, whatever the other says."""
    profile["metadata"]["name"] = "contd"
    operator.cluster.apply([profile])
    use(operator, namespace, profile)

    assert accepted(operator, profile, "False")["message"] == (
        "metadata.name: is 'contd', which is built in; choose another name"
    )
    operator.wait_condition("Accepted", "True", namespace)
    assert "contd_workflows_completed_total" in str(expressions(operator, namespace))


def refused(operator, body):
    with pytest.raises(KubectlError) as caught:
        operator.cluster.apply([body])
    return str(caught.value)


REFUSED = [
    ({"families": [{"name": "a", "role": "run.ended", "type": "counter", "help": "A."}]}, "spec.families[0].role"),
    ({"families": [{"name": "a-b", "role": "run.finished", "type": "counter", "help": "A."}]}, "spec.families[0].name"),
    ({"families": [{"name": "a", "role": "run.finished", "type": "timer", "help": "A."}]}, "spec.families[0].type"),
    ({"families": [{"name": "a", "role": "run.finished", "type": "counter"}]}, "spec.families[0].help"),
    ({"family": []}, "spec.family"),
    ({"alerts": [{**PROFILE["spec"]["alerts"][0], "severity": "page"}]}, "spec.alerts[0].severity"),
    ({"alerts": [{**PROFILE["spec"]["alerts"][0], "for": "soon"}]}, "spec.alerts[0].for"),
    ({"alerts": [{**PROFILE["spec"]["alerts"][0], "threshold": "3"}]}, "spec.alerts[0].threshold"),
    ({"extends": "contd"}, "spec.extends"),
    ({"title": None}, "spec.title"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "path"), REFUSED)
def test_a_shape_that_is_wrong_is_refused_by_the_api_server(operator, profile, change, path):
    profile["spec"] |= change

    assert path in refused(operator, profile)


def test_a_name_that_no_spec_could_give_is_refused(operator, profile):
    profile["metadata"]["name"] = "a.b"

    assert "at most 63 lower-case letters" in refused(operator, profile)


def test_every_built_in_profile_can_be_copied_into_the_cluster(operator, profile):
    """The examples to copy are accepted by the schema, under another name."""
    for name in profiles.names():
        text = resources.files("flowgauge.profiles").joinpath("builtin", f"{name}.yaml").read_text()
        body = yaml.safe_load(text)
        body["metadata"] = {"name": name_of(profile)}
        operator.cluster.apply([body])

        assert accepted(operator, profile, "True")["reason"] == "Valid", name


def test_a_restart_with_nothing_changed_writes_nothing(operator, namespace, profile, in_place_of):
    operator.cluster.apply([profile])
    use(operator, namespace, profile)
    operator.wait_condition("Provisioned", "True", namespace)
    operator.wait(
        lambda: operator.cluster.get("wfp", name_of(profile))["status"].get("workflows") == 1,
        "the profile to count its workflow",
    )
    operator.wait_quiet()

    mark = operator.cluster.audit_mark()
    release = f"again-{secrets.token_hex(2)}"
    with in_place_of(operator, release) as again:
        again.wait_quiet()
        again.wait(lambda: again.metric("flowgauge_workflows") >= 1, "the workflow to be known")
        again.wait_quiet()

        assert again.writes_since(mark, namespace) == []
        assert [
            r for r in again.cluster.audit(ACCOUNT, since=mark) if r.name == name_of(profile)
        ] == []


def test_without_the_right_to_read_them_the_built_in_ones_serve(
    operator, namespace, profile, in_place_of
):
    operator.cluster.apply([profile])
    release = f"blind-{secrets.token_hex(2)}"
    with in_place_of(operator, release, rbac={"create": True, "profiles": False}) as running:
        use(running, namespace, profile)
        running.cluster.apply([running.workflow(namespace, "plain")])

        running.wait_condition("Accepted", "True", namespace, "plain")
        condition = running.wait_condition("Accepted", "False", namespace)

    assert condition["reason"] == "UnknownProfile"
    assert "may not list workflowprofiles.flowgauge.dev (RBAC)" in condition["message"]


def test_an_operator_of_some_namespaces_reads_them_too(operator, namespace, profile, in_place_of):
    operator.cluster.apply([profile])
    release = f"scoped-{secrets.token_hex(2)}"
    with in_place_of(operator, release, namespaces=[namespace]) as running:
        use(running, namespace, profile)

        running.wait_condition("Accepted", "True", namespace)
