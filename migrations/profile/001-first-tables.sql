-- What a client must still know after a crash: who it is, where it read to, and what it has yet to send.

CREATE TABLE profile (
    id            INTEGER PRIMARY KEY CHECK (id = 1),
    instance      INTEGER NOT NULL, -- 64 random bits, as the signed integer of the same bits
    next          INTEGER NOT NULL, -- greater than every number this instance ever used
    pin           BLOB,
    room_epoch    INTEGER,
    room_seq      INTEGER,
    inbox_epoch   INTEGER,
    inbox_seq     INTEGER,
    tip           BLOB,
    token         BLOB,
    token_expires INTEGER,
    device        BLOB,
    user          INTEGER,
    username      TEXT
) STRICT;

CREATE TABLE outbox (
    n          INTEGER PRIMARY KEY,
    recipients TEXT NOT NULL, -- numbers with spaces between; empty: everybody
    text       TEXT NOT NULL
) STRICT;
