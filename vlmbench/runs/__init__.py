"""One run: its folder, and getting it done."""
