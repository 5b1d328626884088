# What pint checks of every rule that is rendered, without a server; `test_pint.py` runs it. What is switched off has its
# reason here.

# Never asked (`--offline`): some checks, as that of duplicates, run only where a server is configured.
prometheus "none" {
  uri = "http://127.0.0.1:9"
}

checks {
  disabled = [
    # A rule that reads a record of another group may read that of the evaluation before. Groups are apart on purpose:
    # what changes over hours is evaluated rarely, and no alert is off by more than one evaluation. That nothing reads
    # what is not recorded, and within a group only what stands before, is checked in test_checklist.py.
    "rule/dependency",
  ]
}

rule {
  match {
    kind = "alerting"
  }
  annotation "summary" {
    severity = "bug"
    value    = "[A-Z][^{}]{0,118}[.]"
    required = true
  }
  annotation "description" {
    severity = "bug"
    required = true
  }
  label "severity" {
    severity = "bug"
    values   = ["critical", "warning", "info"]
    required = true
  }
}

rule {
  label "namespace" {
    severity = "bug"
    required = true
  }
  label "monitored_workflow" {
    severity = "bug"
    required = true
  }
}

rule {
  match {
    kind = "recording"
  }
  name "[a-z_]+(:[a-zA-Z0-9_]+){2}" {
    severity = "bug"
  }
}

rule {
  # What remembers a moment is one number without labels; those of the rule say whose it is.
  ignore {
    name = "workflow:(schedule|run_started|run_good):.+"
  }
  aggregate ".+" {
    severity = "bug"
    keep     = ["namespace", "monitored_workflow"]
  }
}

rule {
  # Of a schedule by cron, what is remembered is never needed; of one by a CronJob it is, and they share the record.
  match {
    name = "workflow:schedule:paused_timestamp_seconds"
  }
  disable = ["promql/impossible"]
}
