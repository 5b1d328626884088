"""The style sheet of the page, for both themes and widths. Pure."""

from __future__ import annotations

from flowgauge_operator.preview.colors import Theme
from flowgauge_operator.preview.grid import COLUMNS, EDGE_NARROW, EDGE_WIDE, GAP, ROW

# Below this width Grafana puts all panels below each other.
BREAK = 768


def sheet(theme: Theme, width: int) -> str:
    """CSS without anything from outside."""
    return f"""
:root{{color-scheme:{theme.name}}}
*{{box-sizing:border-box}}
body{{margin:0;background:{theme.page};color:{theme.text};font:14px/1.45 Inter,"Helvetica Neue",Arial,sans-serif}}
body>*{{max-width:{width}px;margin:0 auto;padding:0 {EDGE_WIDE}px}}
a{{color:{theme.link}}}
header{{padding-top:14px!important}}
h1{{font-size:20px;margin:0;overflow-wrap:anywhere}}
h2{{display:inline;font-size:16px;font-weight:500;margin:0;overflow-wrap:anywhere}}
h3{{font-size:14px;font-weight:500;margin:0;flex:1;min-width:0;overflow:hidden;text-overflow:ellipsis;white-space:nowrap}}
header p{{margin:2px 0;color:{theme.weak};overflow-wrap:anywhere}}
dl{{display:flex;flex-wrap:wrap;gap:4px 16px;margin:6px 0;font-size:13px}}
dl div{{display:flex;gap:6px;max-width:100%}}
dt{{color:{theme.weak};white-space:nowrap}}
dd{{margin:0;overflow-wrap:anywhere;min-width:0}}
nav{{display:flex;flex-wrap:wrap;gap:4px 14px;font-size:13px;margin:6px 0}}
nav>*{{overflow-wrap:anywhere}}
.events{{font-size:13px;margin:8px 0 0;border-left:3px solid {theme.line};padding-left:10px}}
.events ul{{list-style:none;margin:4px 0;padding:0;columns:3 340px;column-gap:24px}}
.events li{{break-inside:avoid;overflow-wrap:anywhere;padding:1px 0}}
.events time{{color:{theme.weak};white-space:nowrap}}
main>*{{margin:10px 0 16px}}
main>details>summary{{cursor:pointer;padding:4px 0}}
.badge{{font-size:12px;color:{theme.weak};margin-left:8px}}
.grid{{display:grid;grid-template-columns:repeat({COLUMNS},minmax(0,1fr));grid-auto-rows:{ROW}px;gap:{GAP}px}}
.panel{{background:{theme.panel};border:1px solid {theme.line};border-radius:2px;display:flex;flex-direction:column;min-width:0;min-height:0;position:relative}}
.head{{display:flex;align-items:center;gap:6px;height:32px;padding:0 8px;flex:none}}
.body{{flex:1;min-height:0;padding:0 8px 8px;display:flex;flex-direction:column;overflow:hidden}}
.about{{flex:none;font-size:12px}}
.about summary{{list-style:none;cursor:help;width:18px;height:18px;border:1px solid {theme.weak};border-radius:50%;text-align:center;line-height:16px;color:{theme.weak};font-family:serif;font-style:italic}}
.about summary::-webkit-details-marker{{display:none}}
.about p{{position:absolute;z-index:9;left:6px;right:6px;top:32px;margin:0;padding:8px 10px;background:{theme.page};border:1px solid {theme.weak};border-radius:2px;overflow-wrap:anywhere;white-space:pre-line;max-height:320px;overflow:auto}}
.links{{font-size:12px;display:flex;gap:8px;flex:none}}
svg{{display:block;width:100%;height:auto;font-family:inherit}}
svg *{{stroke-linejoin:round;stroke-linecap:butt}}
.narrow{{display:none}}
.legend{{list-style:none;margin:6px 0 0;padding:0;display:flex;flex-wrap:wrap;gap:0 14px;font-size:12px;line-height:20px;overflow:auto;flex:none}}
.legend ul{{list-style:none;padding:0;margin:0}}
.legend li{{display:flex;align-items:center;max-width:100%;min-width:0}}
.legend li span{{overflow:hidden;text-overflow:ellipsis;white-space:nowrap}}
.legend i{{width:16px;height:0;margin-right:6px;flex:none}}
.legend summary{{cursor:pointer;color:{theme.weak}}}
.stats{{flex:1;min-height:0;display:flex;flex-wrap:wrap;gap:4px}}
.stat{{flex:1 1 120px;min-width:0;min-height:0;display:flex;flex-direction:column;align-items:center;justify-content:center;border-radius:2px;overflow:hidden;container-type:size;text-align:center}}
.stat .name{{font-size:13px;max-width:96%;overflow:hidden;text-overflow:ellipsis;white-space:nowrap;flex:none}}
.stat .value{{font-weight:500;line-height:1.1;font-size:clamp(13px,min(52cqh,calc(150cqw / var(--n))),54px);max-width:96%;overflow-wrap:anywhere}}
.empty{{margin:auto;color:{theme.weak};font-size:15px;text-align:center;overflow-wrap:anywhere}}
.note{{margin:4px 0;color:{theme.weak};font-size:12px;overflow-wrap:anywhere}}
.error{{margin:2px 0 6px;padding:4px 8px;border:1px solid;border-left-width:4px;color:{theme.color("red" if theme.name == "dark" else "dark-red")};font-size:12px;overflow-wrap:anywhere;max-height:120px;overflow:auto;flex:none}}
.written{{margin:0;white-space:pre-wrap;overflow:auto;overflow-wrap:anywhere;font:inherit}}
.table{{overflow:auto;flex:1;min-height:0}}
table{{border-collapse:collapse;width:100%;font-size:13px}}
th{{text-align:left;font-weight:500;color:{theme.weak};position:sticky;top:0;background:{theme.panel}}}
th,td{{padding:4px 8px;border-bottom:1px solid {theme.line};vertical-align:top}}
td{{overflow-wrap:break-word;max-width:420px}}
.number{{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}}
.scale{{display:flex;align-items:center;gap:8px;margin:4px 0 0;font-size:12px;color:{theme.weak}}}
.scale i{{width:140px;height:8px}}
footer{{font-size:12px;color:{theme.weak};padding-bottom:16px!important}}
@media (max-width:{BREAK}px){{
body>*{{padding:0 {EDGE_NARROW}px}}
.grid{{display:flex;flex-direction:column}}
.panel{{height:auto;min-height:var(--h)}}
.wide{{display:none}}
.narrow{{display:block}}
.legend{{max-height:none!important;font-size:13px;line-height:22px}}
.head{{height:auto;min-height:34px;padding:6px 8px}}
h3{{white-space:normal;overflow-wrap:anywhere;max-height:120px}}
.stat{{min-height:90px}}
.events ul{{columns:1}}
td{{max-width:220px}}
table{{font-size:12px}}
th,td{{padding:4px 6px}}
}}
@media print{{.panel{{break-inside:avoid}}}}
"""
