"""Everything that is a pure function of finished runs: boards, comparisons, plots, files."""
