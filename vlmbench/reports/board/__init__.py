"""Runs beside each other and beside reported results: from finished runs to tables."""
