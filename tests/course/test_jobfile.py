"""What a job may return comes back from disk as it was; fingerprints tell jobs apart."""

from __future__ import annotations

import numpy as np
import pytest

from medxfer_lab.course.jobfile import Job, Task, job_fingerprint


def function(**parameters):
    return parameters


def task(folder, **parameters) -> Task:
    job = Job("a/b: c", parameters)
    return Task(job, folder, job_fingerprint(job, function))


def test_everything_storable_comes_back(tmp_path):
    result = {
        "f": np.arange(6.0, dtype=np.float32).reshape(2, 3),
        "i": np.int64(3),
        "b": np.array([True, False]),
        "none": None,
        "words": "η",
        "nan": float("nan"),
        "deep": {"list": [1, {"array": np.array(["x", "yy"])}], "empty": np.zeros((0, 4))},
        16: 2.5,
    }
    here = task(tmp_path, seed=1)
    here.save(result, seconds=1.25)
    found, seconds = here.load()
    assert seconds == 1.25 and set(found) == {*list(result)[:-1], "16"}
    np.testing.assert_array_equal(found["f"], result["f"])
    assert found["f"].dtype == np.float32 and found["b"].dtype == bool
    assert found["i"] == 3 and found["none"] is None and found["words"] == "η"
    assert np.isnan(found["nan"]) and found["16"] == 2.5
    assert list(found["deep"]["list"][1]["array"]) == ["x", "yy"]
    assert found["deep"]["empty"].shape == (0, 4)


def test_the_file_name_is_safe_and_of_the_job(tmp_path):
    one, two = task(tmp_path, seed=1), task(tmp_path, seed=2)
    assert one.path.parent == tmp_path and one.path.name.startswith("a-b-c.")
    assert one.path != two.path
    assert one.load() is None


@pytest.mark.parametrize("context", [{"weights": "a"}, ["a"], "a", 1])
def test_the_context_counts(context):
    job = Job("k", {"seed": 1})
    assert job_fingerprint(job, function) != job_fingerprint(job, function, context)
    assert job_fingerprint(job, function) == job_fingerprint(Job("k", {"seed": 1}), function)


def test_objects_are_refused_by_place(tmp_path):
    with pytest.raises(TypeError, match=r"result\.a\[1\] is a set"):
        task(tmp_path).save({"a": [1, {2}]}, 0.0)
    with pytest.raises(TypeError, match="result.x is a ndarray"):
        task(tmp_path).save({"x": np.array([object()])}, 0.0)
    assert not list(tmp_path.iterdir())
