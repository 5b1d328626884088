"""Data to look at dashboards with: a workflow of any vocabulary that is well, failing, idle or new.

`scenario` says how each of these goes, `story` invents the runs, `telling` says what they mean in roles, `page` puts roles
into the names of a profile, `history` has Prometheus' own code evaluate the rules over it, and serves it.
"""
