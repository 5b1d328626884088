"""Turn a workflow and a profile into manifests. Called by reconcile and by the command line; reads and writes nothing."""

from flowgauge_operator.render.options import Capabilities, Options, Problem, SloView
from flowgauge_operator.render.render import Rendered, render
from flowgauge_operator.render.shared import Share

__all__ = ["Capabilities", "Options", "Problem", "Rendered", "Share", "SloView", "render"]
