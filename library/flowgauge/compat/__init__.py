"""Drop-in modules: a program of another system runs with its import lines changed to one of these.

| system | instead of | import from |
|---|---|---|
| contd | `contd.observability`, `contd.sdk` | `flowgauge.compat.contd` |
| IA Modules | `ia_modules.telemetry` | `flowgauge.compat.ia_modules` |
| TTA.dev | `tta_dev_primitives.observability` | `flowgauge.compat.tta_dev` |
| Orchestrix | `orchestrix.infrastructure...`, `orchestrix.core.message` | `flowgauge.compat.orchestrix` |

They have the names, arguments and metrics that those systems document, and measure with the rest of this library:
what a decorator of `contd` counts, `flowgauge.setup_observability` serves too, in any vocabulary.
"""
