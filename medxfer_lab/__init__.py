"""medxfer_lab: the helper package of a course on transfer learning in medical imaging.

Importing it is cheap: nothing heavy (torch, nilearn, matplotlib) is loaded before it is used.

Everything simulated here is simulated, and nothing is for clinical use.
"""

from medxfer_lab._version import __version__

__all__ = ["__version__"]
