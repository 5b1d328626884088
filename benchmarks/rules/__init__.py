"""Our rules of objectives beside Sloth's and Pyrra's: how true they are, and what their evaluation costs.

    make bench-rules

`traffic` invents what happened, `scraping` what a Prometheus saw of it, `truth` what is right to say of it. `peers` has
the rules of each tool, from the tool itself. `replaying` evaluates them over the history, with the code of Prometheus;
`cost` does it in a real server, at the present. `table` prints.
"""
