"""A real LAN of several hosts on one machine: network namespaces on a bridge, and the programs that run on them.

It must run inside `unshare -Urnmpf --kill-child` (tests/run does that): there it is root of its own little world, needs
no rights outside, and whatever it leaves behind ends with it. Standard library only.
"""

import json
import os
import queue
import signal
import socket
import struct
import subprocess
import threading
import time

SERVER = "10.77.0.1"
PORT = 26262
ADDRESS = f"{SERVER}:{PORT}"
# Deadlines are for a machine that hangs, not for a measurement: what is promised in seconds is asserted apart.
PATIENCE = 120.0


class Failed(Exception):
    """A test found what must not be."""


def check(holds, what):
    if not holds:
        raise Failed(what)


def call(*command, stdin=None):
    """Runs a tool to its end and gives what it wrote; a failure is told with the tool's own words."""
    done = subprocess.run(command, input=stdin, capture_output=True, text=True)
    if done.returncode != 0:
        raise Failed(f"{' '.join(command)} gave {done.returncode}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


class Lan:
    """A bridge and hosts `h1` … `hN` with the addresses 10.77.0.1 … N on `eth0`; their other ends are `v1` … `vN`."""

    def __init__(self, hosts):
        links = [link["ifname"] for link in json.loads(call("ip", "-j", "link", "show"))]
        if not set(links) <= {"lo", "sit0", "tunl0", "ip6tnl0", "gre0", "gretap0", "erspan0", "ip_vti0", "ip6_vti0"}:
            raise SystemExit(f"this is no network namespace of its own (links: {links}); start it by tests/run")
        call("mount", "-t", "tmpfs", "tmpfs", "/run")
        os.mkdir("/run/netns")
        call("ip", "link", "set", "lo", "up")
        call("ip", "link", "add", "bridge", "type", "bridge")
        call("ip", "link", "set", "bridge", "up")
        self.hosts = [f"h{number}" for number in range(1, hosts + 1)]
        for number, host in enumerate(self.hosts, 1):
            call("ip", "netns", "add", host)
            call("ip", "link", "add", f"v{number}", "type", "veth", "peer", "name", "eth0", "netns", host)
            call("ip", "link", "set", f"v{number}", "master", "bridge", "up")
            call("ip", "-n", host, "address", "add", f"10.77.0.{number}/24", "dev", "eth0")
            call("ip", "-n", host, "link", "set", "lo", "up")
            call("ip", "-n", host, "link", "set", "eth0", "up")

    def lose(self, percent):
        """Drops so many percent of the UDP datagrams that reach each host, drawn once for each of them.

        At the receiver, since a drop on the way out is reported to the sender (EPERM), which no real network does.
        What the server receives is the one way, what the members receive the other.
        """
        rules = ["flush ruleset"]
        if percent:
            rules += [
                "table inet lan {",
                "  counter seen { }",
                "  counter lost { }",
                "  chain input {",
                "    type filter hook input priority 0; policy accept;",
                "    meta l4proto udp counter name seen",
                f"    meta l4proto udp numgen random mod 100 < {percent} counter name lost drop",
                "  }",
                "}",
            ]
        for host in self.hosts:
            call("nsenter", f"--net=/run/netns/{host}", "nft", "-f", "-", stdin="\n".join(rules) + "\n")

    def losses(self):
        """Datagrams that reached each host, and how many of them were dropped: {host: (seen, lost)}."""
        counted = {}
        for host in self.hosts:
            told = call("nsenter", f"--net=/run/netns/{host}", "nft", "-j", "list", "counters")
            named = {item["counter"]["name"]: item["counter"]["packets"]
                     for item in json.loads(told)["nftables"] if "counter" in item}
            counted[host] = (named["seen"], named["lost"])
        return counted


class Capture:
    """Writes what passes one link into a pcap file: a raw socket here needs neither dumpcap nor its group."""

    ALL = 0x0003

    def __init__(self, link, path):
        self.path = path
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(self.ALL))
        self.socket.bind((link, self.ALL))
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        self.socket.settimeout(0.2)
        self.file = open(path, "wb")
        self.file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
        self.ending = False
        self.thread = threading.Thread(target=self.copy, daemon=True)
        self.thread.start()

    def copy(self):
        while True:
            try:
                frame = self.socket.recv(65535)
            except socket.timeout:  # TimeoutError itself, from Python 3.10 on
                if self.ending:
                    return
                continue
            seconds = time.time()
            stamp = struct.pack("<IIII", int(seconds), int(seconds % 1 * 1e6), len(frame), len(frame))
            self.file.write(stamp + frame)

    def end(self):
        self.ending = True
        self.thread.join()
        # struct tpacket_stats: frames seen, frames the kernel could not hand over.
        _, dropped = struct.unpack("II", self.socket.getsockopt(263, 6, 8))
        self.socket.close()
        self.file.close()
        check(dropped == 0, f"the capture itself lost {dropped} frames: it cannot be judged")


class Program:
    """A program on one host. Its output is read line by line as JSON, by a thread of its own, and kept."""

    def __init__(self, world, host, name, arguments, environment=None):
        self.name, self.log = name, os.path.join(world.folder, f"{name}.log")
        self.changed, self.began = world.changed, world.began
        self.events = []
        self.ended = False
        self.lines = queue.Queue()
        log = open(self.log, "ab")
        log.write(f"\n$ {' '.join(arguments)}\n".encode())
        log.flush()
        self.process = subprocess.Popen(
            world.command(host, arguments),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
            env={**os.environ, "LC_ALL": "C.UTF-8", **(environment or {})},
        )
        world.programs.append(self)
        threading.Thread(target=self.read, args=(log,), daemon=True).start()
        threading.Thread(target=self.write, daemon=True).start()

    def read(self, log):
        for line in self.process.stdout:
            at = time.monotonic()
            log.write(b"%9.3f " % (at - self.began) + line)
            log.flush()
            try:
                event = json.loads(line)
                kind = event["event"]
            except (ValueError, KeyError, TypeError):
                event, kind = {"event": "?", "line": line.decode(errors="replace")}, "?"
            with self.changed:
                event["at"] = at
                self.events.append(event)
                self.on(kind, event)
                self.changed.notify_all()
        with self.changed:
            self.ended = True
            self.changed.notify_all()
        log.close()

    def write(self):
        """Lines are written from here, since a program that does not read must not stop the test."""
        try:
            while (line := self.lines.get()) is not None:
                self.process.stdin.write(line)
                self.process.stdin.flush()
            self.process.stdin.close()
        except OSError:
            pass  # It has ended; who waits for it says so.

    def on(self, kind, event):
        """What a kind of program makes of its events."""

    def of(self, kind):
        return [event for event in self.events if event["event"] == kind]

    def until(self, holds, what, seconds=PATIENCE):
        """Waits until `holds()`; the end of the program before that is a failure."""
        deadline = time.monotonic() + seconds
        with self.changed:
            while not (value := holds()):
                left = deadline - time.monotonic()
                if left <= 0:
                    raise Failed(f"{self.name}: after {seconds:.0f} s still not: {what}")
                if self.ended:
                    raise Failed(f"{self.name}: ended ({self.process.wait()}) before: {what}")
                self.changed.wait(left)
            return value

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def terminate(self):
        """SIGTERM; gives the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.finish()

    def finish(self, seconds=PATIENCE):
        """Ends its input, waits for it, gives its exit code."""
        self.lines.put(None)
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise Failed(f"{self.name}: did not end within {seconds:.0f} s") from None
        with self.changed:
            while not self.ended:
                self.changed.wait(1)
        return code


class Server(Program):
    """`preau serve` on h1; ready when constructed."""

    def __init__(self, world, *options):
        world.servers += 1
        arguments = [world.preau, "serve", "--bind", ADDRESS, "--data", os.path.join(world.folder, "data"),
                     "--name", "Salle 12", "--no-discovery", "--json", *options]
        super().__init__(world, "h1", f"server-{world.servers}", arguments)
        listening = self.until(lambda: self.of("listening"), "listening")[0]
        self.listening_at = listening["at"]
        self.words = listening["words"]
        check(listening["address"] == ADDRESS, f"listening says {listening}")
        check(len(self.words) == 6, f"six words expected: {listening}")


class Chat(Program):
    """`preau chat --json` of one member; keeps what it showed."""

    def __init__(self, world, host, user, *options, device="", password=True):
        self.user = user
        self.room, self.inbox, self.history = [], [], []
        self.states = {}
        self.typed = 0
        arguments = [world.preau, "chat", "--server", ADDRESS, "--user", user, "--json", *options,
                     "--profile", world.profile(user + device)]
        if "--trust" not in options:
            arguments += ["--trust", "first-use"]
        if password:
            arguments += ["--password-file", world.password_file(user)]
        super().__init__(world, host, f"chat-{user}{device}", arguments)

    def on(self, kind, event):
        if kind == "message":
            if event.get("history"):
                self.history.append(event)
            else:
                {"room": self.room, "inbox": self.inbox}[event["log"]].append(event)
        elif kind == "state":
            self.states.setdefault(event.get("line"), []).append(event)

    def welcomed(self):
        self.until(lambda: self.of("welcome"), "welcome")
        return self

    def type(self, line):
        """Types a line; gives its number."""
        self.typed += 1
        self.lines.put(line.encode() + b"\n")
        return self.typed

    def state(self, line):
        """The newest state of a typed line, or nothing."""
        told = self.states.get(line)
        return told[-1]["state"] if told else None

    def was(self, line, state):
        return any(told["state"] == state for told in self.states.get(line, ()))

    def until_stored(self, line, seconds=PATIENCE):
        self.until(lambda: self.was(line, "stored"), f"line {line} stored", seconds)

    def ask(self, line):
        """Types a command that shows messages; gives those it showed, up to its `end`."""
        before, ends = len(self.history), len(self.of("end"))
        self.type(line)
        self.until(lambda: len(self.of("end")) > ends, f"the end of {line}")
        return self.history[before:]

    def members(self, line="/members"):
        before = len(self.of("members"))
        self.type(line)
        return self.until(lambda: self.of("members")[before:], f"the answer to {line}")[0]["members"]

    def quit(self):
        """End of input when everything is stored and shown: it must leave with 0, and not wait for anything."""
        check((code := self.finish(seconds=15)) == 0, f"{self.name} ended with {code}")


class World:
    """One test: its folder, the programs it started, and the end of them all."""

    def __init__(self, lan, preau, folder):
        self.lan, self.preau, self.folder = lan, preau, folder
        self.changed = threading.Condition()
        self.programs, self.servers, self.accounts = [], 0, 0
        self.notes = []
        self.began = time.monotonic()

    def command(self, host, arguments):
        """What runs a program on a host."""
        return ["nsenter", f"--net=/run/netns/{host}", *arguments]

    def note(self, text):
        """Something measured, for whoever reads the run."""
        self.notes.append(text)

    def profile(self, name):
        return os.path.join(self.folder, "profile-" + name)

    def password_file(self, user, password=None):
        path = os.path.join(self.folder, f"password-{user}")
        if password is not None or not os.path.exists(path):
            with open(path, "w", encoding="utf-8") as file:
                file.write((password or f"le mot de passe de {user}") + "\n")
        return path

    def account(self, host, command, user, *options, password=True, expect=0):
        """`preau account …` to its end; gives its events."""
        self.accounts += 1
        arguments = [self.preau, "account", command, "--server", ADDRESS, "--user", user, "--json", *options,
                     "--profile", self.profile(user)]
        if "--trust" not in options:
            arguments += ["--trust", "first-use"]
        if password:
            arguments += ["--password-file", self.password_file(user)]
        program = Program(self, host, f"account-{self.accounts}-{command}-{user}", arguments)
        code = program.finish()
        check(code == expect, f"account {command} of {user} ended with {code}, not {expect}: {program.events}")
        return program.events

    def register(self, host, user, *options):
        """Registers a member; gives the recovery code."""
        events = self.account(host, "register", user, "--first-name", user.capitalize(), "--last-name", "Martin",
                              *options)
        registered = [event for event in events if event["event"] == "registered"]
        check(len(registered) == 1 and registered[0]["user"] == user, f"one `registered` expected: {events}")
        return registered[0]["recovery_code"]

    def end(self):
        for program in self.programs:
            if program.process.poll() is None:
                program.process.kill()
            program.process.wait()
            program.lines.put(None)

    def tails(self, lines=25):
        """The last lines of every log, for a failure."""
        for program in {program.log: program for program in self.programs}.values():
            with open(program.log, encoding="utf-8", errors="replace") as file:
                kept = file.read().splitlines()[-lines:]
            print(f"--- {program.name} (exit {program.process.poll()})")
            for line in kept:
                print("    " + (line if len(line) < 300 else line[:300] + f" … ({len(line)} characters)"))


def same_order(chats):
    """Everyone showed the room's messages once and in one order; gives the longest list."""
    longest = max((chat.room for chat in chats), key=len)
    for chat in chats:
        seqs = [message["seq"] for message in chat.room]
        check(all(one < other for one, other in zip(seqs, seqs[1:])), f"{chat.name}: seqs do not ascend: {seqs}")
        ids = [message["id"] for message in chat.room]
        check(len(set(ids)) == len(ids), f"{chat.name}: a message was shown twice")
        start = [message["seq"] for message in longest].index(seqs[0]) if seqs else 0
        for mine, theirs in zip(chat.room, longest[start:]):
            same = all(mine[key] == theirs[key] for key in ("seq", "id", "from", "text", "time"))
            check(same, f"{chat.name} showed {brief(mine)} where another showed {brief(theirs)}")
    return longest


def brief(message):
    return {key: value if key != "text" else value[:40] for key, value in message.items() if key != "at"}

