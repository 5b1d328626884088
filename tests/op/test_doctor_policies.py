"""Selectors and NetworkPolicies, as their specifications say."""

from __future__ import annotations

import dataclasses

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from flowgauge_operator.doctor import networkpolicy, selectors
from flowgauge_operator.doctor.networkpolicy import Party, Port

KEYS, VALUES = st.sampled_from("abc"), st.sampled_from("xyz")
LABELS = st.dictionaries(KEYS, VALUES, max_size=3)
EXPRESSIONS = st.one_of(
    st.fixed_dictionaries(
        {
            "key": KEYS,
            "operator": st.sampled_from(["In", "NotIn"]),
            "values": st.lists(VALUES, min_size=1, max_size=2),
        }
    ),
    st.fixed_dictionaries({"key": KEYS, "operator": st.sampled_from(["Exists", "DoesNotExist"])}),
)
SELECTORS = st.fixed_dictionaries(
    {}, optional={"matchLabels": LABELS, "matchExpressions": st.lists(EXPRESSIONS, max_size=2)}
)
OPPOSITE = {"In": "NotIn", "NotIn": "In", "Exists": "DoesNotExist", "DoesNotExist": "Exists"}


@given(LABELS)
def test_an_empty_selector_matches_everything(labels):
    assert selectors.matches({}, labels)


@given(EXPRESSIONS, LABELS)
def test_an_operator_and_its_opposite_never_agree(rule, labels):
    other = rule | {"operator": OPPOSITE[rule["operator"]]}

    assert selectors.matches({"matchExpressions": [rule]}, labels) != selectors.matches(
        {"matchExpressions": [other]}, labels
    )


@given(SELECTORS, SELECTORS, LABELS)
def test_two_selectors_in_one_ask_for_both(one, other, labels):
    both = {
        "matchExpressions": [
            *one.get("matchExpressions", []),
            *other.get("matchExpressions", []),
            *(
                {"key": k, "operator": "In", "values": [v]}
                for selector in (one, other)
                for k, v in selector.get("matchLabels", {}).items()
            ),
        ]
    }

    expected = selectors.matches(one, labels) and selectors.matches(other, labels)
    assert selectors.matches(both, labels) is expected


@given(SELECTORS, LABELS)
def test_wanted_labels_satisfy_what_a_selector_demands_to_be_there(selector, labels):
    positive = [
        r for r in selector.get("matchExpressions", []) if r["operator"] in ("In", "Exists")
    ]
    demanded = selector | {"matchExpressions": positive[:1]}
    clashing = {r["key"] for r in positive} & selector.get("matchLabels", {}).keys()

    assert clashing or selectors.matches(demanded, labels | selectors.wanted(demanded))


def test_what_does_not_fit_is_said_in_words():
    selector = {
        "matchLabels": {"release": "kps", "team": "a"},
        "matchExpressions": [{"key": "tier", "operator": "In", "values": ["x", "y"]}],
    }

    assert selectors.misfits(selector, {"team": "b"}) == [
        "label release=kps is missing",
        "label team is b, not a",
        "label tier must be one of x, y",
    ]
    assert selectors.spelled(None) == "nothing"
    assert selectors.spelled({}) == "everything"


def test_the_nearest_labels_come_first():
    pods = [("db", {"app": "postgres"}), ("o", {"app": "orders", "tier": "x"}), ("n", {})]

    near = selectors.nearest({"app": "orders"}, pods)

    assert [name for name, _ in near] == ["o", "db"]


TARGET = Party("shop", {"app": "orders"}, {"kubernetes.io/metadata.name": "shop"}, ["10.0.0.1"], {"metrics": 9090})  # fmt: skip
SOURCE = Party("monitoring", {"role": "prometheus"}, {"kubernetes.io/metadata.name": "monitoring"}, ["10.1.0.1"])  # fmt: skip
PORT = Port(9090)


def policy(spec, namespace="shop", name="p"):
    return {
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"podSelector": {}} | (yaml.safe_load(spec) if isinstance(spec, str) else spec),
    }


@pytest.mark.parametrize(
    ("admitted", "spec"),
    [
        (False, "{}"),
        (False, "ingress: []"),
        (True, "ingress: [{}]"),
        (True, "podSelector: {matchLabels: {app: other}}"),
        (True, "{policyTypes: [Egress], egress: []}"),
        (False, "{policyTypes: [Ingress, Egress], egress: [{}]}"),
        (False, "ingress: [{from: [{podSelector: {}}]}]"),
        (True, "ingress: [{from: [{namespaceSelector: {}}]}]"),
        (True, "ingress: [{from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: monitoring}}}]}]"),
        (False, "ingress: [{from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: shop}}}]}]"),
        (True, "ingress: [{from: [{namespaceSelector: {}, podSelector: {matchLabels: {role: prometheus}}}]}]"),
        (False, "ingress: [{from: [{namespaceSelector: {}, podSelector: {matchLabels: {role: grafana}}}]}]"),
        # Two peers are an or, two selectors in one peer an and.
        (True, "ingress: [{from: [{namespaceSelector: {}}, {podSelector: {matchLabels: {role: x}}}]}]"),
        (True, "ingress: [{from: [{ipBlock: {cidr: 10.1.0.0/16}}]}]"),
        (False, "ingress: [{from: [{ipBlock: {cidr: 10.1.0.0/16, except: [10.1.0.0/24]}}]}]"),
        (False, "ingress: [{from: [{ipBlock: {cidr: 'fd00::/8'}}]}]"),
        (True, "ingress: [{ports: [{port: 9090}]}]"),
        (True, "ingress: [{ports: [{port: metrics, protocol: TCP}]}]"),
        (False, "ingress: [{ports: [{port: http}]}]"),
        (False, "ingress: [{ports: [{port: 9090, protocol: UDP}]}]"),
        (True, "ingress: [{ports: [{port: 9000, endPort: 9100}]}]"),
        (False, "ingress: [{ports: [{port: 9000, endPort: 9080}]}]"),
        (True, "ingress: [{ports: [{protocol: TCP}]}]"),
        (False, "ingress: [{from: [{namespaceSelector: {}}], ports: [{port: 80}]}]"),
    ],
)  # fmt: skip
def test_a_policy_is_read_as_its_specification_says(admitted, spec):
    assert networkpolicy.ingress([policy(spec)], TARGET, SOURCE, PORT).admitted is admitted


def test_policies_add_up_and_those_of_other_namespaces_do_not_count():
    deny, allow = policy({}, name="deny"), policy({"ingress": [{}]}, name="allow")

    assert networkpolicy.ingress([deny], TARGET, SOURCE, PORT).policies == ("deny",)
    assert networkpolicy.ingress([deny, allow], TARGET, SOURCE, PORT).admitted
    assert networkpolicy.ingress([policy({}, "other")], TARGET, SOURCE, PORT).admitted


def test_prometheus_may_be_kept_in():
    shut = policy({"policyTypes": ["Egress"]}, "monitoring")
    to_shop = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "shop"}}}
    out = policy({"egress": [{"to": [to_shop], "ports": [{"port": "metrics"}]}]}, "monitoring")

    assert not networkpolicy.egress([shut], SOURCE, TARGET, PORT).admitted
    assert networkpolicy.egress([shut, out], SOURCE, TARGET, PORT).admitted


def test_pods_in_the_network_of_their_node_are_beyond_policies():
    on_host = dataclasses.replace(TARGET, is_on_host=True)
    assert networkpolicy.ingress([policy({})], on_host, SOURCE, PORT).admitted

    everybody = policy("ingress: [{from: [{namespaceSelector: {}}]}]")
    source = dataclasses.replace(SOURCE, is_on_host=True)
    assert not networkpolicy.ingress([everybody], TARGET, source, PORT).admitted


PEERS = st.fixed_dictionaries(
    {}, optional={"podSelector": SELECTORS, "namespaceSelector": SELECTORS}
)
PORTS = st.fixed_dictionaries(
    {}, optional={"port": st.sampled_from([80, 9090, "metrics"]), "protocol": st.sampled_from(["TCP", "UDP"])}
)  # fmt: skip
RULES = st.fixed_dictionaries(
    {}, optional={"from": st.lists(PEERS, max_size=2), "ports": st.lists(PORTS, max_size=2)}
)
POLICIES = st.lists(
    st.builds(
        policy,
        st.fixed_dictionaries(
            {"podSelector": SELECTORS}, optional={"ingress": st.lists(RULES, max_size=2)}
        ),
    ),
    max_size=4,
)
PARTIES = st.builds(
    Party,
    st.sampled_from(["shop", "monitoring"]),
    LABELS,
    LABELS,
    ports=st.just({"metrics": 9090}),
)


@given(POLICIES, LABELS, PARTIES)
def test_the_order_of_policies_does_not_matter(policies, labels, source):
    target = dataclasses.replace(TARGET, labels=labels)

    one = networkpolicy.ingress(policies, target, source, PORT).admitted
    assert one is networkpolicy.ingress(policies[::-1], target, source, PORT).admitted


@given(POLICIES, LABELS, PARTIES)
def test_a_policy_that_admits_everything_opens_whatever_the_others_say(policies, labels, source):
    target = dataclasses.replace(TARGET, labels=labels)
    opened = [*policies, policy({"ingress": [{}]})]

    assert networkpolicy.ingress(opened, target, source, PORT).admitted


@given(POLICIES, LABELS, PARTIES)
def test_a_policy_that_admits_nothing_only_matters_where_no_other_selects(policies, labels, source):
    target = dataclasses.replace(TARGET, labels=labels)
    before = networkpolicy.ingress(policies, target, source, PORT)

    after = networkpolicy.ingress([*policies, policy({})], target, source, PORT)

    assert after.admitted is (before.admitted and before.policies != ())
