"""How far a long run is: jobs done, rate and time left, on stdout, silent where asked to be."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator

from medxfer_lab.course.jobfile import Failure, is_quiet


@contextlib.contextmanager
def bar(
    total: int, found: int, progress: bool = True, label: str = ""
) -> Iterator[Callable[[Failure | None], None]]:
    """A function to call once for each job that ends, with its failure if it has one.

    ``found`` of the ``total`` jobs were on disk already: they count as done, not as fast, so that
    rate and time left are those of the jobs that this run computes. Both are means over the whole
    run: jobs of a sweep differ in length, and the last few say little about those to come.
    Failures are printed as they come, with or without a bar. MEDXFER_QUIET=1 silences everything.
    """
    if is_quiet():
        yield lambda failure: None
        return
    from tqdm import tqdm

    shown = progress and found < total
    with tqdm(
        total=total,
        initial=found,
        desc=label or None,
        unit="job",
        file=sys.stdout,
        smoothing=0,
        disable=not shown,
    ) as drawn:
        if found:
            drawn.set_postfix_str(f"{found} found on disk", refresh=False)

        def tick(failure: Failure | None) -> None:
            if failure:
                tqdm.write(f"failed: {failure}", file=sys.stdout)
            drawn.update(1)

        yield tick
