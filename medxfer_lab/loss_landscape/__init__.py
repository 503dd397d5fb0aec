"""Chapter: the loss landscape, where tuning is stable and what it forgets."""
