"""Real files: each reader gives pictures with their units, spacing and patient where known."""
