"""What rendering costs, beside what it costs to build an equal dashboard with the Foundation SDK and with grafanalib."""
