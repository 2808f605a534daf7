"""What a process and all that it started use, as Linux counts it in /proc."""

import os
from pathlib import Path


def tree_of(pid: int) -> list[int]:
    """The process and all its living descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            fields = _stat(int(entry.name))
            if fields:
                children.setdefault(int(fields[1]), []).append(int(entry.name))
    found, waiting = [], [pid]
    while waiting:
        one = waiting.pop()
        found.append(one)
        waiting += children.get(one, [])
    return found


def process_cpu(pid: int) -> float:
    """CPU seconds of one process and of the children that it waited for; 0 where it has gone."""
    fields = _stat(pid)
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK") if fields else 0.0


def tree_cpu(pid: int) -> float:
    """CPU seconds of the living processes of a tree, and of those that they waited for."""
    return sum(map(process_cpu, tree_of(pid)))


def tree_memory(pid: int) -> int:
    """Resident bytes of a tree; pages that processes share count in each."""
    pages = 0
    for one in tree_of(pid):
        try:
            pages += int(Path(f"/proc/{one}/statm").read_text().split()[1])
        except (OSError, IndexError):
            continue
    return pages * os.sysconf("SC_PAGE_SIZE")


def _stat(pid: int) -> list[str]:
    """Fields of /proc/PID/stat from the third (state) on; empty where the process has gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
