"""The command line: the words that a user types."""
