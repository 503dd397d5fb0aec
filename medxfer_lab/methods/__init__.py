"""Results that more than one chapter needs, as pure functions of arrays in float64."""
