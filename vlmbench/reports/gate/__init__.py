"""A decision on a candidate against a baseline: GO, NO-GO or INCONCLUSIVE."""
