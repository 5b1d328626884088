"""What every dashboard must be: each profile with the spec of each example, the fleet's and the objectives'."""

import functools
import itertools
import re

import grafana_text
import pytest
from boards import (
    BUILT_IN,
    GRAFANA,
    GROUPS,
    LOGS,
    RUNBOOKS,
    SIXTEEN,
    body,
    called,
    group,
    known_profiles,
    of_workflow,
    shared,
)
from grafana_units import UNITS

from flowgauge_operator import names, promql

ORDER = (
    "Overview",
    "Objectives",
    "Failures",
    "Duration",
    "Runs",
    "Steps",
    "Messages",
    "Waiting",
    "Queues",
    "Schedules",
    "Workers",
    "Durability",
    "Event store",
    "Cost",
    "Process",
    "Monitoring",
)
# What Prometheus tells by itself.
OF_PROMETHEUS = {
    "up",
    "ALERTS",
    "ALERTS_FOR_STATE",
    "scrape_duration_seconds",
    "scrape_samples_scraped",
    "scrape_samples_post_metric_relabeling",
    "scrape_series_added",
    # The Pushgateway's, of each group.
    "push_time_seconds",
}
OF_KUBERNETES = re.compile(r"kube_(cronjob|job)_\w+")
COLUMNS = 24


@functools.cache
def selectors(expr):
    """The selectors of an expression; the same is asked about by many tests."""
    return [*promql.selectors(expr)]


checked = functools.cache(promql.check)


def each_board(test):
    """Run a test of one dashboard for every dashboard of a group."""

    @pytest.mark.parametrize("chosen", GROUPS)
    def for_every_board(chosen):
        found = {made.name: faults for made in group(chosen) if (faults := [*test(made)])}
        assert found == {}

    return for_every_board


# -- identity and shape -----------------------------------------------------------------------------------------------


@each_board
def test_ids_of_panels_are_unique_within_rows_too(made):
    ids = [panel["id"] for panel in (*made.rows(), *made.panels())]

    yield from (number for number in set(ids) if ids.count(number) > 1 or number < 1)


@each_board
def test_the_uid_is_one_that_grafana_and_its_operator_take(made):
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,40}", made.body["uid"]):
        yield made.body["uid"]


@each_board
def test_the_uid_is_the_one_that_links_are_made_of(made):
    if made.workflow:
        expected = names.dashboard_uid(made.namespace, made.workflow)
    elif made.name.startswith("fleet"):
        expected = names.fleet_uid(made.namespace)
    else:
        expected = names.objectives_uid(made.namespace)
    if made.body["uid"] != expected:
        yield made.body["uid"]


def test_no_two_dashboards_have_one_uid():
    workflows = [names.dashboard_uid("shop", name) for name in ("orders", "invoices")]
    uids = [*workflows, *(made.body["uid"] for made in shared().values())]

    assert len(set(uids)) == len(uids)


@each_board
def test_nothing_overlaps_and_nothing_leaves_the_grid(made):
    for members in (made.body["panels"], *(row["panels"] for row in made.rows())):
        yield from overlaps(members)


def overlaps(panels):
    taken = {}
    for panel in panels:
        place = panel["gridPos"]
        if place["x"] < 0 or place["y"] < 0 or place["x"] + place["w"] > COLUMNS:
            yield f"{panel['title']} leaves the grid"
        columns, lines = range(place["w"]), range(place["h"])
        for i, j in itertools.product(columns, lines):
            other = taken.setdefault((place["x"] + i, place["y"] + j), panel["id"])
            if other != panel["id"]:
                yield f"{panel['title']} lies on panel {other}"
                break


@each_board
def test_a_closed_row_holds_its_panels_and_an_open_one_none(made):
    for row in made.rows():
        if row["collapsed"] != bool(row["panels"]):
            yield f"{row['title']} is {'closed' if row['collapsed'] else 'open'}"
        for panel in row["panels"]:
            if panel["gridPos"]["y"] <= row["gridPos"]["y"]:
                yield f"{panel['title']} is not below its row"


@each_board
def test_an_open_row_has_panels(made):
    for one, other in itertools.pairwise([*made.body["panels"], {"type": "row"}]):
        if one["type"] == other["type"] == "row" and not one["panels"]:
            yield one["title"]


@each_board
def test_rows_come_in_the_order_of_triage(made):
    titles = [row["title"] for row in made.rows()]
    known = [ORDER.index(title) for title in titles if title in ORDER]

    if made.workflow and (titles[0] != "Overview" or known != sorted(known)):
        yield titles
    if len(set(titles)) != len(titles):
        yield titles


@each_board
def test_a_dashboard_is_read_only_and_knows_its_time(made):
    given = {key: made.body.get(key) for key in ("editable", "timezone", "graphTooltip")}

    if given != {"editable": False, "timezone": "browser", "graphTooltip": 1}:
        yield given
    if not re.fullmatch(r"\d+[sm]", made.body["refresh"]) or not made.body["time"]["from"]:
        yield made.body["refresh"]
    # 39 is Grafana 10's; 13 still reads 42.
    if not 39 <= made.body["schemaVersion"] <= 42:
        yield made.body["schemaVersion"]


# -- panels -----------------------------------------------------------------------------------------------------------


@each_board
def test_every_panel_says_what_it_is_and_what_to_do(made):
    for panel in made.panels():
        if not panel["title"] or not panel["description"].endswith((".", "!", "?")):
            yield panel["title"]


@each_board
def test_no_title_stands_twice_in_a_row(made):
    rows, at = {"": []}, ""
    for panel in made.body["panels"]:
        at = panel["title"] if panel["type"] == "row" else at
        rows.setdefault(at, []).extend(panel["panels"] if panel["type"] == "row" else [panel])
    for row, panels in rows.items():
        titles = [panel["title"] for panel in panels]
        yield from ((row, title) for title in set(titles) if titles.count(title) > 1)


@each_board
def test_every_query_has_its_letter(made):
    for panel in made.panels():
        letters = [target["refId"] for target in panel["targets"]]
        if not letters or len(set(letters)) != len(letters) or not all(letters):
            yield panel["title"], letters


@each_board
def test_nothing_is_shown_twice(made):
    shown = [
        (panel["type"], *(target["expr"] for target in panel["targets"])) for panel in made.panels()
    ]

    yield from {each for each in shown if shown.count(each) > 1}


@each_board
def test_the_data_source_is_the_variable(made):
    sources = [(panel["title"], panel["datasource"]) for panel in made.panels()]
    sources += [
        (panel["title"], target["datasource"])
        for panel in made.panels()
        for target in panel["targets"]
    ]
    sources += [(each["name"], each["datasource"]) for each in made.annotations()]
    sources += [(each["name"], each["datasource"]) for each in made.queried()]
    for where, source in sources:
        if source != {"type": "prometheus", "uid": "${datasource}"}:
            yield where, source


@each_board
def test_every_unit_is_one_of_grafanas(made):
    for panel in made.panels():
        config = panel["fieldConfig"]
        units = [config["defaults"]["unit"]] if "unit" in config["defaults"] else []
        units += [value for _, key, value in properties(panel) if key == "unit"]
        yield from ((panel["title"], unit) for unit in units if unit not in UNITS)


def properties(panel):
    """What a panel says of single columns."""
    for override in panel["fieldConfig"]["overrides"]:
        for each in override["properties"]:
            yield override["matcher"]["options"], each["id"], each["value"]


@each_board
def test_thresholds_rise_from_null(made):
    for panel in made.panels():
        told = [panel["fieldConfig"]["defaults"].get("thresholds")]
        told += [value for _, key, value in properties(panel) if key == "thresholds"]
        for each in filter(None, told):
            values = [step["value"] for step in each["steps"]]
            if values[0] is not None or values[1:] != sorted(set(values[1:])):
                yield panel["title"], values


@each_board
def test_a_colour_is_never_the_only_sign(made):
    """A number, a word or a line says the same."""
    for panel in made.panels():
        options = panel.get("options", {})
        if options.get("textMode") == "none" or options.get("colorMode") == "none":
            yield panel["title"]


@each_board
def test_a_table_asks_for_now_and_its_queries_become_columns(made):
    for panel in made.panels():
        if panel["type"] != "table":
            continue
        asked = {(target["instant"], target["format"]) for target in panel["targets"]}
        if asked != {(True, "table")}:
            yield panel["title"], asked
        kinds = [each["id"] for each in panel["transformations"]]
        if len(panel["targets"]) > 1 and "merge" not in kinds:
            yield panel["title"], kinds
        if "organize" not in kinds:
            yield panel["title"], kinds


# -- queries ----------------------------------------------------------------------------------------------------------


@each_board
def test_every_expression_is_one_that_prometheus_takes(made):
    for where, expr in made.exprs():
        try:
            selectors(expr)
        except promql.ExpressionError as error:
            yield where, str(error)


@each_board
def test_no_query_reads_whatever_is_there(made):
    """Those of a workflow name their owner; those of the shared ones name what was chosen."""
    for where, expr in made.exprs():
        for found in selectors(expr):
            pairs = {m.name: m.value for m in found.matchers.matchers}
            if made.workflow and (
                pairs.get("namespace"),
                pairs.get("monitored_workflow"),
            ) != (made.namespace, made.workflow):
                yield where, found.prettify()
            if made.namespace and pairs.get("namespace") != made.namespace:
                yield where, found.prettify()
            if not pairs.keys() >= {"namespace", "monitored_workflow"}:
                yield where, found.prettify()


@each_board
def test_a_variable_asks_within_what_was_chosen_before(made):
    """The first one chooses the namespace, where none is given."""
    wanted = {"namespace": set(), "workflow": {"namespace"}}
    for each in made.queried():
        query = each["query"]["query"] if isinstance(each["query"], dict) else each["query"]
        inner = re.fullmatch(r"label_values\((.+),\s*\w+\)", query, re.DOTALL)[1]
        for found in selectors(made.sent(inner)):
            pairs = {m.name: m.value for m in found.matchers.matchers}
            if not pairs.keys() >= wanted.get(each["name"], {"namespace", "monitored_workflow"}):
                yield each["name"], found.prettify()
            if made.namespace and pairs.get("namespace") != made.namespace:
                yield each["name"], found.prettify()
            if made.workflow and pairs.get("monitored_workflow") != made.workflow:
                yield each["name"], found.prettify()


@each_board
def test_a_namespace_is_matched_by_equality_where_it_is_known(made):
    if made.namespace:
        for where, expr in made.exprs():
            try:
                checked(expr, made.namespace)
            except promql.ExpressionError as error:
                yield where, str(error)


@each_board
def test_every_metric_is_in_the_catalogue_or_recorded(made):
    known = catalogue(made) | made.recorded | OF_PROMETHEUS
    for where, expr in made.exprs():
        for found in selectors(expr):
            if not is_known(found, known) and not is_of_a_cronjob(found.name, made):
                yield where, found.prettify()


def is_known(selector, known):
    """The windows of an objective are one series each, of one beginning."""
    (any_name,) = [m.value for m in selector.matchers.matchers if m.name == "__name__"] or [None]
    if any_name is None:
        return selector.name in known
    return any(re.fullmatch(any_name, name) for name in known)


def catalogue(made):
    """The names that the profile's families have in a scrape, in the form that the workflow exposes."""
    native = made.spec is not None and made.spec.scrape.native_histograms
    found = set()
    for family in made.profile.families if made.profile else ():
        classic = {"histogram": ("_bucket", "_count", "_sum"), "summary": ("", "_count", "_sum")}
        endings = classic.get(family.type, ("",))
        endings = ("",) if family.type == "histogram" and native else endings
        found |= {family.name + ending for ending in endings}
    return found


def is_of_a_cronjob(name, made):
    schedule = made.spec and made.spec.schedule
    return bool(schedule and schedule.cron_job and OF_KUBERNETES.fullmatch(name or ""))


@each_board
def test_only_variables_that_exist_are_used(made):
    known = {*BUILT_IN, *made.variables}
    texts = [(where, target["expr"]) for where, target in targets(made)]
    texts += [(where, target["legendFormat"]) for where, target in targets(made)]
    texts += [(each["name"], str(each["query"])) for each in made.queried()]
    for where, text in texts:
        for found in grafana_text.VARIABLE.finditer(text):
            # In label_replace, a number is a part of what was matched.
            is_part = called(found).isdigit() and "label_replace" in text
            if not is_part and (called(found) not in known or not found[0].startswith("$")):
                yield where, found[0]


def targets(made):
    for panel in made.panels():
        for target in panel["targets"]:
            yield f"{panel['title']} {target['refId']}", target


@each_board
def test_at_most_thirty_queries_run_on_opening(made):
    asked = [
        target for panel in made.open() for target in panel["targets"] if not target.get("hide")
    ]
    asked += [each for each in made.annotations() if each["enable"]]
    asked += made.queried()

    if len(asked) > 30:
        yield len(asked)


@each_board
def test_rates_over_time_use_the_interval_of_the_panel(made):
    for panel in made.panels():
        for target in panel["targets"]:
            ranges = set(
                re.findall(r"\[([^\[\]]*?)\](?!\])", re.sub(r'"[^"]*"', "", target["expr"]))
            )
            raw = not re.search(r"\b\w+:\w+:\w+", target["expr"])
            # The windows of a subquery belong to what is asked, such as the peak of an hour.
            given = {each for each in ranges if ":" not in each}
            if target.get("range") and raw and not given <= {"$__rate_interval"}:
                yield panel["title"], given


@each_board
def test_a_query_is_either_for_now_or_for_a_range(made):
    for where, target in targets(made):
        if bool(target.get("instant")) == bool(target.get("range")):
            yield where


@each_board
def test_histograms_bring_their_exemplars(made):
    for where, target in targets(made):
        heatmap = target["format"] == "heatmap"
        quantile = "histogram_quantile" in target["expr"]
        if target.get("range") and (heatmap or quantile) and not target.get("exemplar"):
            yield where


@each_board
def test_panels_of_objectives_read_what_is_recorded(made):
    """Over weeks nothing else is affordable."""
    for panel in (each for each in in_row(made, "Objectives") if each["title"] in OF_OBJECTIVES):
        for target in panel["targets"]:
            found = [each.name or "" for each in selectors(made.sent(target["expr"]))]
            yield from ((panel["title"], name) for name in found if ":" not in name)


# What a guide shows beside them reads what its library says of itself.
OF_OBJECTIVES = {"Error budget left", "Objectives", "Error budget over time", "Burn rate"}


def in_row(made, title):
    at = ""
    for panel in made.body["panels"]:
        at = panel["title"] if panel["type"] == "row" else at
        if at == title:
            yield from panel["panels"] if panel["type"] == "row" else [panel]


# -- around the panels ------------------------------------------------------------------------------------------------


@each_board
def test_alerts_deployments_and_changes_of_the_monitoring_are_marked(made):
    shown = [each["name"] for each in made.annotations() if each["enable"]]
    wanted = ["Firing alerts", "Deployments", "Monitoring changed"]

    if made.workflow and shown != wanted:
        yield shown
    if "Firing alerts" not in shown:
        yield shown


# The text of a mark is HTML to Grafana, so it holds only what has no free text.
SAFE = {
    "alertname",
    "severity",
    "slo",
    "instance",
    "job",
    "pod",
    "revision",
    "profile",
    "namespace",
}
SAFE |= {"monitored_workflow", "burn_tier", "spec"}


@each_board
def test_marks_hold_only_labels_without_free_text(made):
    for each in made.annotations():
        texts = f"{each.get('titleFormat', '')} {each.get('textFormat', '')}"
        labels = re.findall(r"\{\{\s*(.+?)\s*\}\}", texts)
        labels += filter(None, map(str.strip, each.get("tagKeys", "").split(",")))
        yield from ((each["name"], label) for label in labels if label not in SAFE)


@each_board
def test_links_lead_to_the_fleet_the_objectives_the_runbooks_logs_and_traces(made):
    urls = [link["url"] for link in made.body["links"] if link["type"] == "link"]
    uids = {names.fleet_uid(made.namespace)}
    if made.spec is None or made.objectives:
        uids.add(names.objectives_uid(made.namespace))
    missing = {
        uid for uid in uids - {made.body["uid"]} if not any(f"/d/{uid}" in url for url in urls)
    }
    if missing:
        yield missing
    for wanted in (RUNBOOKS, *(place(LOGS, "https://traces.example") if made.workflow else ())):
        if not any(url.startswith(wanted) for url in urls):
            yield wanted


def place(*urls):
    return [url.partition("?")[0].rstrip("/") for url in urls]


@each_board
def test_links_carry_the_time_and_nothing_is_left_of_their_templates(made):
    for link in made.body["links"]:
        if "{{" in link.get("url", "") or re.search(r"\s", link.get("url", "")):
            yield link["url"]
        if "/d/" in link.get("url", "") and not link["keepTime"]:
            yield link["url"]
        if not link["url"].startswith(("https://", "/d/", GRAFANA)):
            yield link["url"]


@each_board
def test_the_variables_of_targets_are_chosen_from_those_of_the_workflow(made):
    if not made.workflow:
        return
    shown = [*made.variables]
    if "$instance" not in made.text:
        # What is known of a program that nobody scrapes is recorded.
        if shown != ["datasource"] or "$job" in made.text:
            yield shown
        return
    if shown != ["datasource", "job", "instance"]:
        yield shown
        return
    everything = ".*" if made.spec.scrape.mode == "Push" else ".+"
    for name in ("job", "instance"):
        given = {key: made.variables[name][key] for key in ("multi", "includeAll", "allValue")}
        if given != {"multi": True, "includeAll": True, "allValue": everything}:
            yield name, given


# -- size and sameness ------------------------------------------------------------------------------------------------


@each_board
def test_a_dashboard_is_below_100_kb(made):
    if len(made.text.encode()) >= 100_000:
        yield len(made.text.encode())


@pytest.mark.parametrize("profile", known_profiles())
def test_a_second_render_is_the_same_to_the_byte(profile):
    spec = body({"profile": profile, "slos": SIXTEEN})
    chosen = known_profiles()[profile]

    assert of_workflow("one", spec, chosen).text == of_workflow("other", spec, chosen).text
