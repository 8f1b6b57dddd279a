"""What tests of streaming on a device are skipped without: LiteRT, and the libraries of the ops."""

import pytest

from benchmarks.device_contenders import require_litert
from benchmarks.errors import CannotRun
from benchmarks.speed import require_op


def _why_not():
    try:
        require_op()
        require_litert()
    except CannotRun as error:
        return str(error)
    return None


needs_ops = pytest.mark.skipif(_why_not() is not None, reason=f"{_why_not()}")
