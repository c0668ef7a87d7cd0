"""A third of the datagrams is lost, both ways, and nothing is lost, doubled or reordered."""

from lan import Chat, Server, check, brief, same_order

MEMBERS = {"amina": "h2", "bob": "h3", "chloe": "h4", "zoe": "h5"}
EACH = 250
LOSS = 30


def long_text(start):
    """About 3,900 bytes of UTF-8, so that it travels in parts and characters are not cut."""
    return start + " " + "une longue pluie, un préau, des élèves ☂ " * 85


def script(name):
    """What a member types: 250 messages to the room, a few of them long, and a private one after every 25th."""
    names = sorted(MEMBERS)
    others = names[names.index(name) + 1:] + names[:names.index(name)]
    for k in range(1, EACH + 1):
        text = f"{name} {k}"
        yield "room", [], (long_text(text) if k % 50 == 0 else text).strip()
        if k % 25 == 0:
            to = others[:2] if k % 50 == 0 else [others[k // 25 % 3]]
            yield "inbox", to, long_text(f"{name} in private {k}").strip() if k == 100 else f"{name} in private {k}"


def a_thousand_messages_under_loss(world):
    """1,000 messages of 4 members at 30 % loss each way: all arrive at all, once, in one order."""
    world.lan.lose(LOSS)
    Server(world)
    for user, host in MEMBERS.items():
        world.register(host, user)
    chats = [Chat(world, host, user).welcomed() for user, host in MEMBERS.items()]
    for chat in chats:
        chat.until(lambda: sum(member["online"] for member in chat.members("/online")) == len(MEMBERS),
                   "everybody online")

    typed = {}
    for chat in chats:
        typed[chat.user] = {}
        for log, to, text in script(chat.user):
            line = chat.type("@".join([text, *to]))
            typed[chat.user][line] = (log, to, text)
    started = max(chat.events[-1]["at"] for chat in chats)

    for chat in chats:
        chat.until(lambda: len(chat.room) >= EACH * len(MEMBERS), f"{EACH * len(MEMBERS)} messages in the room")
        mine = [text for lines in typed.values() for log, to, text in lines.values() if chat.user in to]
        own = [line for line, (log, _, _) in typed[chat.user].items() if log == "inbox"]
        chat.until(lambda: len(chat.inbox) >= len(mine) + len(own), "all private messages")
    everything_at = max(chat.room[-1]["at"] for chat in chats)
    for chat in chats:
        for line in typed[chat.user]:
            chat.until(lambda: (told := chat.states.get(line)) and told[-1]["state"] == "received"
                       and told[-1]["received"] == told[-1]["of"], f"line {line} received by all")
    for chat in chats:
        chat.quit()

    judge(chats, typed)
    for host, (seen, lost) in world.lan.losses().items():
        check(seen > 200, f"only {seen} datagrams reached {host}")
        check(0.25 < lost / seen < 0.35, f"{lost} of {seen} datagrams dropped at {host}: that is not {LOSS} %")
        world.note(f"{host}: {lost} of {seen} datagrams dropped")
    slowed = sum(event["code"] == "rate-limited" for chat in chats for event in chat.of("notice"))
    world.note(f"all shown to all {everything_at - started:.1f} s after the last line was typed; "
               f"{slowed} notices of the rate limit")


def judge(chats, typed):
    shown = same_order(chats)
    check(all(len(chat.room) == EACH * len(MEMBERS) for chat in chats), "more was shown than was typed")
    for user, lines in typed.items():
        said = [text for log, _, text in lines.values() if log == "room"]
        check([message["text"] for message in shown if message["from"] == user] == said,
              f"the room's messages of {user} are not those typed, in their order")
    for chat in chats:
        seqs = [message["seq"] for message in chat.inbox]
        check(all(one < other for one, other in zip(seqs, seqs[1:])), f"{chat.name}: inbox seqs {seqs}")
        for user, lines in typed.items():
            due = [(sorted(to), text) for log, to, text in lines.values()
                   if log == "inbox" and chat.user in [user, *to]]
            got = [(sorted(message["to"]), message["text"]) for message in chat.inbox if message["from"] == user]
            check(got == due, f"{chat.name}: private messages of {user}: {len(got)} shown, {len(due)} due")
        check({message["from"] for message in chat.inbox} == set(typed), f"{chat.name}: inbox authors")
        for line, (log, to, _) in typed[chat.user].items():
            order = ["queued", "sent", "stored", "received"]
            told = chat.states[line]
            places = [order.index(event["state"]) for event in told if event["state"] in order]
            check(len(places) == len(told) and places == sorted(places), f"{chat.name}: line {line}: {told}")
            of = len(MEMBERS) - 1 if log == "room" else len(to)
            check(told[-1]["of"] == of, f"{chat.name}: line {line} is received by {brief(told[-1])}, not of {of}")
