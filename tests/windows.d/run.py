"""Plays Préau between this system and Windows (Wine), on loopback: `run.py PREAU PREAU.EXE [WORD…]`, the tests whose
name holds one of the words, or all of them. Started by tests/windows, which sets Wine's environment.

The programs, their lines of JSON and their deadlines are those of tests/lan, where a host is a place in a network; here
it is a system: the server is on h1, members on the other system are on h2, members beside the server on h3.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "lan"))

import lan
from lan import Chat, Failed, Program, Server, World, check, same_order

LINUX, WINDOWS = "linux", "windows"


class Systems(World):
    """A world of two systems instead of several hosts."""

    def __init__(self, folder, preau, exe, server):
        super().__init__(None, preau, folder)
        self.exe = exe
        other = LINUX if server == WINDOWS else WINDOWS
        self.systems = {"h1": server, "h2": other, "h3": server}

    def command(self, host, arguments):
        if self.systems[host] == LINUX:
            return arguments
        # Each path as Windows writes it: Wine has the root as drive Z.
        there = "Z:" + self.folder.replace("/", "\\")
        return ["wine64", self.exe, *(argument.replace(self.folder + "/", there + "\\") for argument in arguments[1:])]

    def code(self, host, *arguments):
        """Runs `preau …` to its end; gives its exit code and what it wrote."""
        done = subprocess.run(self.command(host, [self.preau, *arguments]), stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=lan.PATIENCE)
        return done.returncode, done.stdout, done.stderr


def a_server_here_and_members_on_windows(world):
    """Linux serves."""
    story(world)


def a_server_on_windows_and_members_here(world):
    """Windows serves."""
    story(world)


def exit_codes_on_windows_tell_why(world):
    """A server here; every code but that of success is provoked on Windows."""
    server = Server(world)
    world.register("h2", "amina")
    wrong = world.password_file("wrong")
    chat = ["chat", "--server", lan.ADDRESS, "--user", "amina", "--json"]
    profile = ["--profile", world.profile("amina")]
    trust = ["--trust", "first-use"]
    password = ["--password-file", world.password_file("amina")]

    def ends(expected, *arguments):
        code, out, err = world.code("h2", *arguments)
        check(code == expected, f"{' '.join(arguments)} gave {code}, not {expected}: {out}{err}")

    first = Chat(world, "h2", "amina").welcomed()
    ends(7, *chat, *profile, *password)
    first.kill()
    ends(0, *chat, *profile, *password)  # a killed program's lock went with it
    ends(0, "--version")
    ends(1, "serve", "--bind", lan.ADDRESS, "--data", os.path.join(world.folder, "other"))  # the port is taken
    ends(2, *chat, *profile, "--wait", "soon")
    ends(2, *chat, "--profile", world.profile("fresh"), *trust)  # no password, and nobody to ask
    ends(2, "admin", "--data", os.path.join(world.folder, "nowhere"), "users")
    ends(3, *chat, *profile, "--password-file", wrong)
    ends(5, *chat, "--profile", world.profile("unknown"), *password)
    ends(5, *chat, "--profile", world.profile("unknown"), *password, "--trust", "zoo zoo zoo zoo zoo zoo")
    unsent = Chat(world, "h2", "amina", "--wait", "1").welcomed()
    server.kill()
    unsent.until(lambda: any(event["state"] == "away" for event in unsent.of("connection")), "the server gone")
    unsent.type("personne ?")
    check((code := unsent.finish()) == 6, f"unsent messages gave {code}, not 6")
    ends(4, *chat, *profile, "--wait", "1")
    # What was left goes out next time; Ctrl-C ends a chat cleanly too.
    server = Server(world)
    again = Chat(world, "h2", "amina").welcomed()
    again.until(lambda: any(message["text"] == "personne ?" for message in again.room), "what was left unsent")
    check((code := interrupted(again)) == 0, f"Ctrl-C is no clean end of a chat: {code}")
    world.note("Ctrl-C: a chat on Windows ended with 0")


def a_servers_data_on_windows(world):
    """A server on Windows: bound to everything, its data in use, looked after beside it, ended by Ctrl-C, restored."""
    data = os.path.join(world.folder, "data")
    server = Server(world)
    world.register("h2", "amina")
    amina = Chat(world, "h2", "amina").welcomed()
    amina.until_stored(amina.type("avant"))

    def admin(*arguments, expect=0, where=data):
        code, out, err = world.code("h1", "admin", "--data", where, *arguments)
        check(code == expect, f"admin {' '.join(arguments)} gave {code}, not {expect}: {out}{err}")
        return out

    code, _, err = world.code("h1", "serve", "--bind", "127.0.0.1:0", "--data", data)
    check(code == 1, f"a second server with the same data gave {code}, not 1: {err}")
    check("amina" in admin("users"), "the account is not listed")
    admin("check")
    backup = os.path.join(world.folder, "backup")
    admin("backup", backup)
    admin("backup", backup, expect=2)
    admin("teacher", "amina")
    check("teacher" in admin("users"), "amina is no teacher")
    amina.until_stored(amina.type("après"))
    amina.quit()
    check((code := interrupted(server)) == 0, f"Ctrl-C is no clean end of a server: {code}")
    left = os.path.join(data, "room.db-wal")
    check(not os.path.exists(left) or os.path.getsize(left) == 0, "the database is not left clean")
    world.note("Ctrl-C: a server on Windows ended with 0 and left a clean database")

    restored = os.path.join(world.folder, "restored")
    admin("restore", backup, where=restored)
    # [::] takes IPv4 too, on Windows only when asked to.
    port = lan.ADDRESS.rsplit(":", 1)[1]
    everywhere = Program(world, "h1", "everywhere",
                         [world.preau, "serve", "--bind", f"[::]:{port}", "--data", restored, "--json"])
    everywhere.until(lambda: everywhere.of("listening"), "listening")
    amina = Chat(world, "h2", "amina", device="-second").welcomed()
    texts = [message["text"] for message in amina.ask("/history")]
    check(texts == ["avant"], f"the backup's history is {texts}")
    amina.quit()
    check((code := interrupted(everywhere)) == 0, f"Ctrl-C is no clean end of a server: {code}")


def story(world):
    """What a room is for: between two systems, in both directions, through the death of its server."""
    server = Server(world, "--rate", "0")
    world.register("h2", "amina", "--trust", " ".join(server.words))
    code = world.register("h2", "zoé")
    world.register("h3", "bob")
    amina, zoe, bob = [Chat(world, host, user).welcomed() for host, user in
                       (("h2", "amina"), ("h2", "zoé"), ("h3", "bob"))]
    chats = [amina, zoe, bob]

    # To all, each way, with letters and signs that a code page would lose.
    for chat in chats:
        chat.until_stored(chat.type(f"bonjour de {chat.user} : été, 山田, 🎒"))
    for chat in chats:
        chat.until(lambda: len(chat.room) == 3, "three greetings")
    amina.until(lambda: any(event.get("received") == event.get("of") == 2 for event in amina.states[1]),
                "her greeting received by both")

    # Privately, each way; the third sees nothing of it.
    amina.until_stored(amina.type("psst@bob"))
    bob.until_stored(bob.type("oui ?@amina"))
    for chat in (amina, bob):
        chat.until(lambda: [message["text"] for message in chat.inbox] == ["psst", "oui ?"], "the private messages")

    # Another name; a forgotten password.
    zoe.quit()
    renamed = world.account("h2", "rename", "zoé", "--new-name", "zoë")
    check(renamed[0]["event"] == "renamed" and renamed[0]["to"] == "zoë", f"one `renamed` expected: {renamed}")
    bob.until(lambda: any((event["from"], event["to"]) == ("zoé", "zoë") for event in bob.of("renamed")),
              "the new name")
    os.rename(world.profile("zoé"), world.profile("zoë"))
    new = world.password_file("new", "un autre secret")
    recover = ["--code", code, "--new-password-file", new]
    recovered = world.account("h2", "recover", "zoë", *recover, password=False)
    check(recovered[0]["event"] == "recovered", f"one `recovered` expected: {recovered}")
    world.account("h2", "recover", "zoë", *recover, password=False, expect=3)  # a code serves once
    world.password_file("zoë", "un autre secret")
    zoe_again = Chat(world, "h2", "zoë").welcomed()

    # The server dies at work and comes back.
    here = [amina, bob, zoe_again]
    said = {chat.user: [] for chat in here}

    def say(text):
        for chat in here:
            said[chat.user].append(f"{text} ({chat.user})")
            chat.type(said[chat.user][-1])

    for k in range(30):
        say(f"avant {k}")
    amina.until(lambda: len(amina.room) >= 30, "a busy server")
    server.kill()
    for k in range(10):
        say(f"pendant {k}")
    time.sleep(4)  # longer than a client waits before it says that the server is away
    server = Server(world, "--rate", "0")
    say("après")
    for chat in here:
        last = [mine[-1] for mine in said.values()]
        chat.until(lambda: set(last) <= {message["text"] for message in chat.room}, "what was said last")
        back = next(message["at"] for message in chat.room if message["text"] == said[chat.user][-1])
        world.note(f"{chat.name}: back {back - server.listening_at:.2f} s after the restart")
        for line in range(1, chat.typed + 1):
            chat.until_stored(line)
    history = amina.ask("/history 200")
    for chat in here:
        chat.quit()
    shown = same_order([amina, bob])
    same_order(here)
    for user, lines in said.items():
        found = [message["text"] for message in shown if message["from"] == user and "bonjour" not in message["text"]]
        check(found == lines, f"the messages of {user} are not those typed, once and in their order")
    check([(message["seq"], message["text"]) for message in history]
          == [(message["seq"], message["text"]) for message in amina.room], "the history is not what was shown")
    for chat in (zoe, zoe_again):
        check(not chat.inbox, "a private message was shown to a third")
    world.note(f"{len(shown)} messages, in one order on both systems")
    check((code := interrupted(server)) == 0, f"Ctrl-C is no clean end of a server: {code}")


def interrupted(program):
    """Ctrl-C, which Wine makes of SIGINT, while its input stays open; gives the exit code."""
    program.process.send_signal(signal.SIGINT)
    try:
        program.process.wait(15)
    except subprocess.TimeoutExpired:
        raise Failed(f"{program.name}: Ctrl-C did not end it") from None
    return program.finish()


# Each test, and the system its server is on.
TESTS = {
    a_server_here_and_members_on_windows: LINUX,
    a_server_on_windows_and_members_here: WINDOWS,
    exit_codes_on_windows_tell_why: LINUX,
    a_servers_data_on_windows: WINDOWS,
}


def free_port():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def run(test, preau, exe):
    """One test in a folder of its own; gives whether it passed."""
    folder = tempfile.mkdtemp(prefix="preau-windows-")
    lan.ADDRESS = f"127.0.0.1:{free_port()}"
    world, began, passed = Systems(folder, preau, exe, TESTS[test]), time.monotonic(), False
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
    print(f"{'PASS' if passed else 'FAIL'} windows::{test.__name__} ({time.monotonic() - began:.1f} s)", flush=True)
    return passed


def main():
    preau, exe, words = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2]), sys.argv[3:]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    chosen = [test for test in TESTS if not words or any(word in test.__name__ for word in words)]
    if not chosen:
        sys.exit(f"no test's name holds any of: {' '.join(words)}")
    results = [run(test, preau, exe) for test in chosen]
    print(f"{sum(results)} passed, {len(results) - sum(results)} failed")
    sys.exit(0 if all(results) else 1)


if __name__ == "__main__":
    main()
