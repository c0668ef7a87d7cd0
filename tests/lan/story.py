"""A day in a class, told by the scripts' contract alone, and every datagram of it named by Wireshark."""

import collections
import os
import subprocess
import time

from lan import PORT, Capture, Chat, Server, check

# proto.md, section 2. Group, peer and discovery are reserved there and do not occur yet.
TYPES = {1: "hello", 2: "retry", 3: "initiate", 4: "respond", 5: "confirm", 6: "outcome", 7: "sealed", 8: "readable",
         9: "credential", 10: "hint"}
# Section 5: what this story cannot do without.
FRAMES = {0x01: "page", 0x02: "tip", 0x03: "ack", 0x04: "roster", 0x05: "roster_ack", 0x08: "say", 0x09: "stored",
          0x0A: "receipt", 0x0B: "receipt_ack", 0x20: "welcome", 0x21: "tell", 0x22: "told", 0x23: "letters",
          0x24: "letters_ack", 0x26: "letters_receipt", 0x27: "letters_receipt_ack", 0x2A: "call", 0x2B: "reply",
          0x2C: "bye"}
WARNING = 0x600000  # Wireshark's severities: notes (a datagram sent again) are below, errors above.


def a_story_that_wireshark_can_tell(world):
    """Registering, chatting, private messages, renaming, recovering, a killed server: and tshark names it all."""
    world.lan.lose(0)
    key_log = os.path.join(world.folder, "keys")
    capture = Capture("v1", os.path.join(world.folder, "story.pcap"))
    tell(world, key_log)
    time.sleep(0.3)  # The last datagrams are on their way into the file; there is no event to wait for.
    capture.end()
    read_by_wireshark(world, capture.path, key_log)


def tell(world, key_log):
    server = Server(world, "--key-log", key_log)
    words = " ".join(server.words)
    code = register_three(world, words)

    amina = Chat(world, "h2", "amina", "--trust", words).welcomed()
    bob = Chat(world, "h3", "bob").welcomed()
    amina.until(lambda: any(event["user"] == "bob" and event["online"] for event in amina.of("presence")), "bob here")
    chatting(amina, bob)
    renaming(world, amina, bob)
    recovering(world, code)

    server.kill()
    server = Server(world, "--key-log", key_log)
    line = amina.type("nous revoilà")
    amina.until_stored(line)
    bob.until(lambda: any(message["text"] == "nous revoilà" for message in bob.room), "nous revoilà")
    coming_back(world, amina)

    bob.quit()
    amina.until(lambda: not [event for event in amina.of("presence") if event["user"] == "robert"][-1]["online"],
                "robert gone")
    check(server.terminate() == 0, "SIGTERM is no clean end")
    amina.quit()


def register_three(world, words):
    world.account("h2", "register", "amina", "--first-name", "Amina", "--last-name", "Martin", "--trust", "zoo " * 6,
                  expect=5)
    world.register("h2", "amina", "--trust", words)
    world.register("h3", "bob")
    code = world.register("h4", "chloe")
    taken = world.account("h5", "register", "AMINA", "--first-name", "A", "--last-name", "B", expect=3)
    check(not any(event["event"] == "registered" for event in taken), f"amina was registered twice: {taken}")
    return code


def refused(world, host, user, password):
    """A sign-in that must be refused; gives what was said about it."""
    world.password_file("wrong", password)
    chat = Chat(world, host, user, "--password-file", os.path.join(world.folder, "password-wrong"), password=False,
                device="-refused")
    check((code := chat.finish()) == 3, f"a wrong password for {user} ended with {code}, not 3")
    return [{key: value for key, value in event.items() if key != "at"} for event in chat.events]


def chatting(amina, bob):
    line = amina.type("bonjour à tous ☂")
    amina.until(lambda: amina.was(line, "received"), "bonjour received")
    last = amina.states[line][-1]
    check((last["received"], last["of"]) == (1, 1), f"received by 1 of 1 expected: {last}")
    bob.until(lambda: bob.room, "bonjour at bob's")
    shown = bob.room[0]
    check((shown["from"], shown["to"], shown["text"]) == ("amina", None, "bonjour à tous ☂"), f"shown: {shown}")

    line = bob.type("un secret@amina")
    amina.until(lambda: amina.inbox, "the secret")
    shown = amina.inbox[0]
    check((shown["from"], shown["to"], shown["text"]) == ("bob", ["amina"], "un secret"), f"shown: {shown}")
    bob.until(lambda: bob.was(line, "received") and bob.inbox, "the secret received, and shown to its author")

    line = amina.type("pour plus tard@chloe")
    amina.until_stored(line)
    amina.until(lambda: notices(amina, "absent", line), "the notice that chloe is absent")
    check("chloe" in notices(amina, "absent", line)[0]["text"], f"names chloe: {amina.of('notice')}")

    line = amina.type("à personne@personne")
    amina.until(lambda: notices(amina, "no-such-member", line), "the notice that there is no such member")
    check(not amina.was(line, "stored"), "a message to nobody was stored")
    line = amina.type("//quit n'est pas une commande")
    amina.until_stored(line)
    bob.until(lambda: len(bob.room) == 2, "a literal slash")
    check(bob.room[1]["text"] == "/quit n'est pas une commande", f"shown: {bob.room[1]}")


def notices(chat, code, line):
    return [event for event in chat.of("notice") if event["code"] == code and event.get("line") == line]


def renaming(world, amina, bob):
    bob.type("/name robert")
    for chat in (amina, bob):
        chat.until(lambda: any((event["from"], event["to"]) == ("bob", "robert") for event in chat.of("renamed")),
                   "bob renamed robert")
    line = amina.type("toujours là ?@robert")
    bob.until(lambda: any(message["text"] == "toujours là ?" for message in bob.inbox), "a letter to robert")
    amina.until_stored(line)
    world.password_file("clo", "le mot de passe de chloe")
    world.account("h4", "rename", "chloe", "--new-name", "clo")
    amina.until(lambda: any((event["from"], event["to"]) == ("chloe", "clo") for event in amina.of("renamed")),
                "chloe renamed clo")


def recovering(world, code):
    new = world.password_file("new", "un tout nouveau mot de passe")
    wrong = world.account("h4", "recover", "clo", "--code", "00000-00000-00000-00000", "--new-password-file", new,
                          password=False, expect=3)
    check(not any("recovery_code" in event for event in wrong), f"a wrong code gave a new one: {wrong}")
    events = world.account("h4", "recover", "clo", "--code", code, "--new-password-file", new, password=False)
    codes = [event["recovery_code"] for event in events if "recovery_code" in event]
    check(len(codes) == 1 and codes[0] != code, f"a new recovery code expected: {events}")
    world.account("h4", "recover", "clo", "--code", code, "--new-password-file", new, password=False, expect=3)
    old = refused(world, "h4", "clo", "le mot de passe de chloe")
    nobody = refused(world, "h4", "nobody", "le mot de passe de chloe")
    check(old == nobody, f"a wrong password is told from a wrong name: {old} against {nobody}")
    world.password_file("clo", "un tout nouveau mot de passe")


def coming_back(world, amina):
    """Whoever was absent finds everything after the restart."""
    clo = Chat(world, "h4", "clo").welcomed()
    clo.until(lambda: clo.inbox, "the letter for later")
    check([(message["from"], message["text"]) for message in clo.inbox] == [("amina", "pour plus tard")],
          f"inbox of clo: {clo.inbox}")
    check(not clo.room, f"a fresh profile starts at the newest entry: {clo.room}")
    room = ["bonjour à tous ☂", "/quit n'est pas une commande", "nous revoilà"]
    check([message["text"] for message in clo.ask("/history") if message["log"] == "room"] == room, "/history")
    found = clo.ask("/search bonjour")
    check([message["text"] for message in found] == room[:1], f"/search bonjour: {found}")
    check(not clo.ask("/search secret"), "/search finds what others wrote to each other")
    letters = amina.ask("/history 10 @robert")
    check([message["text"] for message in letters] == ["un secret", "toujours là ?"], f"with robert: {letters}")
    members = {member["user"]: member for member in clo.members()}
    check(set(members) == {"amina", "robert", "clo"}, f"members: {members}")
    check((members["amina"]["first_name"], members["amina"]["last_name"]) == ("Amina", "Martin"), f"{members}")
    clo.until(lambda: len(clo.members("/online")) == 3, "all three online")
    clo.quit()
    again = Chat(world, "h4", "clo").welcomed()
    line = again.type("me revoilà")
    again.until_stored(line)
    check(len(again.inbox) == 0, f"a returning profile is shown nothing twice: {again.inbox}")
    again.type("/quit")
    check(again.finish() == 0, "/quit is no clean end")


def read_by_wireshark(world, path, key_log):
    """tshark with the dissector: each datagram of the port is named, none at fault, none left sealed that opens."""
    lua = os.path.join(os.path.dirname(__file__), "..", "..", "assets", "wireshark", "preau.lua")
    fields = ["frame.number", "udp.payload", "frame.protocols", "preau.type", "preau.tag.status", "preau.frame",
              "_ws.malformed", "_ws.lua.error", "_ws.expert.severity", "_ws.col.Info"]
    # In a user namespace of its own tshark is not root, which it would warn of.
    command = ["unshare", "--user", "tshark", "-r", path, "-X", f"lua_script:{lua}", "-o", f"preau.key_log:{key_log}",
               "-Y", f"udp.port == {PORT} && !icmp", "-T", "fields", "-E", "separator=|"]
    for field in fields:
        command += ["-e", field]
    home = {"HOME": world.folder, "XDG_CONFIG_HOME": world.folder, "LC_ALL": "C.UTF-8"}
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **home})
    check(done.returncode == 0 and "lua" not in done.stderr.lower(), f"tshark ({done.returncode}): {done.stderr}")

    datagrams, frames = collections.Counter(), collections.Counter()
    for row in done.stdout.splitlines():
        number, payload, protocols, kind, tag, kinds, malformed, lua_error, severity, info = row.split("|", 9)
        where = f"datagram {number} ({info.strip()})"
        check(payload.startswith("d5e1") and len(payload) <= 2 * 1200, f"{where} is none of Préau's: {payload}")
        check("preau" in protocols.split(":"), f"{where} was not taken by the dissector: {protocols}")
        check(not malformed and not lua_error, f"{where}: malformed {malformed!r}, Lua error {lua_error!r}")
        check(all(int(level, 0) < WARNING for level in severity.split(",") if level), f"{where}: an expert warns")
        code = int(payload[4:6], 16)
        check(int(kind, 0) == code, f"{where}: type {code} was named {kind}")
        if TYPES.get(code) in ("sealed", "readable"):
            check(tag == "1" and kinds, f"{where}: its tag was not verified with the key log (status {tag})")
        datagrams[code] += 1
        frames.update(int(frame, 0) for frame in kinds.split(",") if frame)
    missing = [name for code, name in TYPES.items() if not datagrams[code]]
    check(not missing, f"types that did not occur: {missing} (seen: {dict(datagrams)})")
    check(set(datagrams) <= set(TYPES), f"types that should not occur: {dict(datagrams)}")
    missing = [name for code, name in FRAMES.items() if not frames[code]]
    check(not missing, f"frames that did not occur: {missing} (seen: {dict(frames)})")
    world.note("datagrams: " + ", ".join(f"{datagrams[code]} {name}" for code, name in TYPES.items()))
    world.note(f"frames: {sum(frames.values())} of {len(frames)} kinds")
