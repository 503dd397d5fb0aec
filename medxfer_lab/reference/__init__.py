"""What the reference pages measure: pages about the floor, not about a chapter of the text."""
