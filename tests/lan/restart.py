"""The server is killed in the middle of everything and comes back: nothing that was stored is gone."""

import time

from lan import Chat, Server, check, same_order

MEMBERS = {"amina": "h2", "bob": "h3", "chloe": "h4", "zoe": "h5"}
BEFORE, AFTER = 60, 60


def killed_and_restarted_without_loss(world):
    """Every client is back by itself within 3 s of the restart's `listening`."""
    run(world, loss=0, promise=3.0)


def killed_and_restarted_under_loss(world):
    """At 30 % loss each way every client is back by itself within 15 s."""
    run(world, loss=30, promise=15.0)


def run(world, loss, promise):
    server = Server(world, "--rate", "0")
    for user, host in MEMBERS.items():
        world.register(host, user)
    world.lan.lose(loss)
    chats = [Chat(world, host, user).welcomed() for user, host in MEMBERS.items()]
    said = {user: [] for user in MEMBERS}

    def say(text):
        for chat in chats:
            said[chat.user].append(f"{text} of {chat.user}")
            chat.type(said[chat.user][-1])

    # At once (the clients have not yet missed it: they come back by a hint), and after they have given up on it.
    for gone in (0.0, 4.0):
        for k in range(BEFORE):
            say(f"{gone:.0f}: before {k}")
        shown = max(len(chat.room) for chat in chats)
        chats[0].until(lambda: len(chats[0].room) >= min(shown + 20, sum(map(len, said.values()))), "a busy server")
        server.kill()
        for k in range(AFTER):
            say(f"{gone:.0f}: while away {k}")
        time.sleep(gone)
        server = Server(world, "--rate", "0")
        say(f"{gone:.0f}: back")
        back = []
        for chat in chats:
            mine = said[chat.user][-1]
            chat.until(lambda: any(message["text"] == mine for message in chat.room), f"“{mine}” in the room")
            at = next(message["at"] for message in chat.room if message["text"] == mine)
            back.append(at - server.listening_at)
        world.note(f"away {gone:.0f} s: back after " + ", ".join(f"{seconds:.2f} s" for seconds in back))
        check(max(back) < promise, f"back only after {max(back):.2f} s; promised are {promise:.0f}")

    total = sum(map(len, said.values()))
    for chat in chats:
        chat.until(lambda: len(chat.room) >= total, f"all {total} messages")
        for line in range(1, chat.typed + 1):
            chat.until_stored(line)
    fresh = Chat(world, "h5", "zoe", device="-second").welcomed()
    history = fresh.ask("/history 200")
    for chat in [*chats, fresh]:
        chat.quit()
    shown = same_order(chats)
    for user, lines in said.items():
        check([message["text"] for message in shown if message["from"] == user] == lines,
              f"the messages of {user} are not those typed, once and in their order")
    check(all(len(chat.room) == total for chat in chats), "more was shown than was typed")
    tail = [(message["seq"], message["text"]) for message in shown[-len(history):]]
    check(len(history) == 200 and [(message["seq"], message["text"]) for message in history] == tail,
          f"the history of a new device ({len(history)} messages) is not what was shown")
    check(server.terminate() == 0, "SIGTERM is no clean end")
