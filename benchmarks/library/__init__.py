"""Flowgauge's library beside its peers: cost of a call, of a scrape, of memory, in one run on one machine.

    make bench-library

`rows` says what is compared and what is aimed at, `suites` hold the code of each side, `peers` makes the
environments, `rounds` runs the suites in processes of their own, `table` prints. Only ratios mean something.
"""
