"""Runs the LAN tests: `run.py PATH-OF-PREAU [WORD…]`, those whose name holds one of the words, or all of them.

Started by tests/run inside `unshare -Urnmpf --kill-child`. PREAU_KEEP=1 keeps each test's folder (logs, profiles,
database, capture) and prints where it is.
"""

import os
import shutil
import signal
import sys
import tempfile
import time
import traceback

from lan import Failed, Lan, World
from loss import a_thousand_messages_under_loss
from restart import killed_and_restarted_under_loss, killed_and_restarted_without_loss
from story import a_story_that_wireshark_can_tell

TESTS = [
    a_story_that_wireshark_can_tell,
    a_thousand_messages_under_loss,
    killed_and_restarted_without_loss,
    killed_and_restarted_under_loss,
]


def run(test, lan, preau):
    """One test in a folder of its own; gives whether it passed."""
    folder = tempfile.mkdtemp(prefix="preau-lan-")
    world, began, passed = World(lan, preau, folder), time.monotonic(), False
    try:
        test(world)
        passed = True
    except Failed as fault:
        print(f"    {fault}")
    except Exception:  # A fault of the test itself is a failure like any other, and the next one still runs.
        traceback.print_exc(file=sys.stdout)
    finally:
        world.end()
        if not passed:
            world.tails()
        if os.environ.get("PREAU_KEEP"):
            print(f"    kept: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    for note in world.notes:
        print(f"    {note}")
    print(f"{'PASS' if passed else 'FAIL'} lan::{test.__name__} ({time.monotonic() - began:.1f} s)", flush=True)
    return passed


def main():
    preau, words = os.path.abspath(sys.argv[1]), sys.argv[2:]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    chosen = [test for test in TESTS if not words or any(word in test.__name__ for word in words)]
    if not chosen:
        sys.exit(f"no test's name holds any of: {' '.join(words)}")
    lan = Lan(hosts=5)
    results = [run(test, lan, preau) for test in chosen]
    print(f"{sum(results)} passed, {len(results) - sum(results)} failed")
    sys.exit(0 if all(results) else 1)


if __name__ == "__main__":
    main()
