"""One module per command of `tumorline`; `workflow.cli` puts them together."""
