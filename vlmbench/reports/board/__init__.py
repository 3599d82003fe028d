"""The leaderboard: finished runs beside each other and beside reported results."""
