"""The chapter's exercises, one to a file, each a function ``exercise(seed) -> Exercise``."""
