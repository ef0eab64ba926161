"""Every table of docs/science.md, each by one command: ``python -m benches.science --help``."""
