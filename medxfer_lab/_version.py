"""The package's version, in a module that imports nothing (the installer reads it)."""

__version__ = "0.1.0"
