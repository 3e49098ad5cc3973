"""One thread for what is small: fits of some thousand rows are over before threads have met.

On a machine that others use, threads of OpenMP and of the linear algebra wait for one another longer than
they work. And sums do not depend on the number of cores.

A controller knows the libraries that were loaded when it was made, so there is another one once
scikit-learn has brought its own.
"""

import sys
from contextlib import AbstractContextManager
from functools import cache

from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]


def one_thread() -> AbstractContextManager[object]:
    limit: AbstractContextManager[object] = _controller("sklearn" in sys.modules).limit(limits=1)
    return limit


@cache
def _controller(_scikit_learn: bool) -> ThreadpoolController:
    return ThreadpoolController()
