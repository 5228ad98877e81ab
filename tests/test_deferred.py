"""Torch's kernels that are left for later: what does without them, and who gets them."""

import subprocess
import sys

import pytest

from nntune.ahead import METHOD
from nntune.workers import Workers

STATE = "type(__import__('sys').modules['torch._meta_registrations']).__name__"
KERNEL = "torch._C._dispatch_has_kernel_for_dispatch_key('aten::_cdist_forward', 'Meta')"


def run(code: str) -> str:
    command = [sys.executable, "-W", "error", "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_torch_comes_without_the_kernels_until_they_are_asked_for() -> None:
    found = run(
        "from nntune import deferred; deferred.defer(); import torch\n"
        f"print({STATE}, {KERNEL})\n"
        "deferred.complete(); deferred.complete()\n"
        f"print({STATE}, {KERNEL})"
    )
    assert found == "_Deferred False\nmodule True\n"


def test_who_takes_something_of_the_module_gets_it() -> None:
    found = run(
        "from nntune import deferred; deferred.defer(); import torch\n"
        "from torch._meta_registrations import activate_meta\n"
        f"print({STATE}, callable(activate_meta))"
    )
    assert found == "module True\n"


def test_nothing_is_deferred_where_torch_is_there() -> None:
    assert run(f"import torch; from nntune import deferred; deferred.defer(); print({STATE})") == (
        "module\n"
    )


@pytest.mark.skipif(METHOD != "forkserver", reason="workers fork from a process that has torch")
def test_a_worker_has_no_kernels() -> None:
    with Workers(1) as workers:
        assert workers.submit(eval, STATE).result() == "_Deferred"
