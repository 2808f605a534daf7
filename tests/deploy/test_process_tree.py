"""What processes use, read while they run."""

import os
import subprocess
import sys
import time

from padflow.deploy.process_tree import process_cpu, tree_cpu, tree_memory, tree_of
from padflow.graph.testing import wait_until

MB = 1 << 20


def python(code: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-S", "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def ended(process: "subprocess.Popen[str]") -> None:
    process.communicate(timeout=20.0)


def test_a_tree_has_children_and_their_children() -> None:
    code = (
        "import subprocess, sys\n"
        "again = [sys.executable, '-S', '-c', 'print(1, flush=True); input()']\n"
        "child = subprocess.Popen(again, stdin=subprocess.PIPE, stdout=subprocess.PIPE)\n"
        "child.stdout.readline()\n"
        "print(child.pid, flush=True)\n"
        "input()\n"
        "child.communicate(b'x')\n"
    )
    process = python(code)
    assert process.stdout is not None
    grandchild = int(process.stdout.readline())
    assert set(tree_of(process.pid)) == {process.pid, grandchild}
    assert {process.pid, grandchild} < set(tree_of(os.getpid()))
    process.communicate("x\n", timeout=20.0)
    assert not {process.pid, grandchild} & set(tree_of(os.getpid()))


def test_processor_time_is_counted_while_a_process_lives() -> None:
    process = python("print(1, flush=True)\nwhile True: pass")
    assert process.stdout is not None
    process.stdout.readline()
    before, at = process_cpu(process.pid), time.monotonic()
    assert wait_until(lambda: process_cpu(process.pid) > before + 0.2, 30.0)
    used, passed = process_cpu(process.pid) - before, time.monotonic() - at
    assert used <= passed + 0.1, "one thread uses no more than one processor"
    assert tree_cpu(process.pid) >= before + 0.2
    process.kill()
    ended(process)
    assert process_cpu(process.pid) == 0.0


def test_the_time_of_children_that_ended_stays_with_their_parent() -> None:
    busy = "import time\nwhile time.process_time() < 0.3: pass"
    code = (
        "import subprocess, sys\n"
        f"subprocess.run([sys.executable, '-S', '-c', {busy!r}])\n"
        "print(1, flush=True)\ninput()"
    )
    process = python(code)
    assert process.stdout is not None
    process.stdout.readline()
    assert process_cpu(process.pid) >= 0.25
    process.communicate("x\n", timeout=20.0)


def test_memory_is_what_a_tree_holds() -> None:
    process = python("input()\nheld = bytearray(b'x' * (64 << 20))\nprint(1, flush=True)\ninput()")
    assert process.stdin is not None
    assert process.stdout is not None
    before = tree_memory(process.pid)
    process.stdin.write("x\n")
    process.stdin.flush()
    process.stdout.readline()
    assert 63 * MB < tree_memory(process.pid) - before < 160 * MB
    process.communicate("x\n", timeout=20.0)
    assert tree_memory(process.pid) == 0


def test_a_process_with_brackets_in_its_name_is_read_rightly() -> None:
    code = "open('/proc/self/comm', 'w').write('a) R 1 (b')\nprint(1, flush=True)\ninput()"
    process = python(code)
    assert process.stdout is not None
    process.stdout.readline()
    assert process.pid in tree_of(os.getpid())
    assert 0.0 <= process_cpu(process.pid) < 60.0
    process.communicate("x\n", timeout=20.0)
