"""The subcommands of `vlmbench`: a module each, with `EXAMPLES`, `add_arguments` and `run`."""
