"""How busy a process is, told by what does not depend on how busy the machine is."""

from tests.nodes.machine import Node

_PROGRAM = """import glob, sys, time
def wakings():
    lines = [line for path in glob.glob(f"/proc/{sys.argv[1]}/task/*/status") for line in open(path)]
    return sum(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt_switches:"))
before = wakings()
time.sleep(int(sys.argv[2]))
print(wakings() - before)
"""


def wakings(node: Node, unit: str, seconds: int) -> int:
    """How often the threads of the unit's main process, all together, have waited for something, while so
    many seconds went by."""
    done = node.run("python3", "-c", _PROGRAM, str(node.main_pid(unit)), str(seconds))
    return int(done.stdout)
