"""Measurements for the page on where pictures come from."""
