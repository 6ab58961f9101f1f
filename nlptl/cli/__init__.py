"""The command line: flags and YAML files, their checks, and one command a verb."""
