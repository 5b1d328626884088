"""Grafana dashboards as classic JSON, for Grafana 10 to 13. Pure; the same bytes in every render.

`workflow` draws one workflow, `fleet` lists those of a namespace or of all, `objectives` looks at one objective, and
`itself` at the operator. They share `panel` (one panel), `grid` (where panels stand) and `frame` (what is around them).
"""
