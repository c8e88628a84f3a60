"""The command line: one thin module a group of commands, and the only place that makes parts."""
