"""What a record says of the machine it was made on."""

from __future__ import annotations

import platform

from medxfer_lab.course.machine import device_name, software_versions


def test_versions_are_those_installed():
    import numpy
    import torch

    found = software_versions()
    assert found["python"] == platform.python_version()
    assert found["numpy"] == numpy.__version__
    assert torch.__version__.startswith(found["torch"].split("+")[0])
    found["numpy"] = "changed"
    assert software_versions()["numpy"] == numpy.__version__


def test_devices_have_names():
    assert "cores" in device_name("cpu") and device_name("cuda")
