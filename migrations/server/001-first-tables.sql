-- Everything a room is made of: accounts, signed pages, texts to search, letters, and what became of each submission.
-- 64-bit random numbers (instances) are kept as the signed integers of the same bits.

CREATE TABLE meta (
    id                INTEGER PRIMARY KEY CHECK (id = 1),
    registration_open INTEGER NOT NULL,
    next_user         INTEGER NOT NULL -- at least this: ids given after a backup was made must not be given again
) STRICT;
INSERT INTO meta (id, registration_open, next_user) VALUES (1, 1, 1);

-- Every epoch there was: a client of an older one goes on where the first later one began.
CREATE TABLE epoch (
    epoch INTEGER PRIMARY KEY,
    since INTEGER NOT NULL -- the room's head when it began
) STRICT;
INSERT INTO epoch (epoch, since) VALUES (1, 0);

CREATE TABLE account (
    id                  INTEGER PRIMARY KEY,
    username            TEXT NOT NULL,
    name_key            TEXT NOT NULL UNIQUE,
    first_name          TEXT NOT NULL,
    last_name           TEXT NOT NULL,
    former              TEXT,
    teacher             INTEGER NOT NULL,
    removed             INTEGER NOT NULL,
    revocations         INTEGER NOT NULL DEFAULT 0, -- how often its sessions were ended
    password_identifier BLOB NOT NULL,
    password_upload     BLOB NOT NULL,
    recovery_identifier BLOB,
    recovery_upload     BLOB,
    reset_identifier    BLOB,
    reset_upload        BLOB,
    reset_expires       INTEGER,
    inbox_received      INTEGER NOT NULL
) STRICT;

-- Every folded name ever taken: a freed one is never given to somebody else.
CREATE TABLE name (
    name_key TEXT PRIMARY KEY,
    user     INTEGER NOT NULL REFERENCES account (id)
) STRICT, WITHOUT ROWID;

-- Devices that signed in before; the highest id is the newest.
CREATE TABLE device (
    id   INTEGER PRIMARY KEY,
    user INTEGER NOT NULL REFERENCES account (id),
    hash BLOB NOT NULL,
    UNIQUE (user, hash)
) STRICT;

CREATE TABLE token (
    hash    BLOB PRIMARY KEY,
    user    INTEGER NOT NULL REFERENCES account (id),
    expires INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX token_by_user ON token (user, expires);

-- Pages as they were signed; dense: each begins where the one before ends.
CREATE TABLE page (
    room  INTEGER NOT NULL,
    first INTEGER NOT NULL,
    count INTEGER NOT NULL CHECK (count > 0),
    epoch INTEGER NOT NULL,
    hash  BLOB NOT NULL,
    blob  BLOB NOT NULL,
    PRIMARY KEY (room, first)
) STRICT;

-- The room's messages as texts. Ids follow the order of commits, so that the newest are found by walking down.
CREATE TABLE message (
    id       INTEGER PRIMARY KEY,
    room     INTEGER NOT NULL,
    seq      INTEGER NOT NULL, -- of its last entry
    author   INTEGER NOT NULL REFERENCES account (id),
    time     INTEGER NOT NULL,
    text     TEXT NOT NULL,
    instance INTEGER NOT NULL,
    n        INTEGER NOT NULL,
    others   INTEGER NOT NULL, -- members online when it was stored, its author apart
    UNIQUE (room, seq),
    UNIQUE (instance, n)
) STRICT;

-- Private messages, the body once. Lists of users are numbers with spaces between: '3 12 7'.
CREATE TABLE letter (
    id         INTEGER PRIMARY KEY,
    author     INTEGER NOT NULL REFERENCES account (id),
    recipients TEXT NOT NULL, -- in the order the author gave
    inboxes    TEXT NOT NULL, -- the users of letter_place: what keeps a search within one's own
    time       INTEGER NOT NULL,
    text       TEXT NOT NULL,
    entries    INTEGER NOT NULL CHECK (entries > 0),
    instance   INTEGER NOT NULL,
    n          INTEGER NOT NULL,
    UNIQUE (instance, n)
) STRICT;

-- Where a letter stands in each inbox concerned, by the seq of its last entry there.
CREATE TABLE letter_place (
    user   INTEGER NOT NULL REFERENCES account (id),
    seq    INTEGER NOT NULL,
    letter INTEGER NOT NULL REFERENCES letter (id),
    PRIMARY KEY (user, seq),
    UNIQUE (letter, user)
) STRICT, WITHOUT ROWID;

CREATE TABLE refused (
    instance INTEGER NOT NULL,
    n        INTEGER NOT NULL,
    code     INTEGER NOT NULL,
    PRIMARY KEY (instance, n)
) STRICT, WITHOUT ROWID;

-- Whose an instance is, and the last of its submissions that was decided.
CREATE TABLE instance (
    instance INTEGER PRIMARY KEY,
    user     INTEGER NOT NULL REFERENCES account (id),
    decided  INTEGER NOT NULL
) STRICT;

CREATE VIRTUAL TABLE message_words USING fts5 (
    text, content = 'message', content_rowid = 'id', tokenize = 'unicode61 remove_diacritics 2'
);
CREATE TRIGGER message_is_searchable AFTER INSERT ON message BEGIN
    INSERT INTO message_words (rowid, text) VALUES (new.id, new.text);
END;

CREATE VIRTUAL TABLE letter_words USING fts5 (
    text, inboxes, content = 'letter', content_rowid = 'id', tokenize = 'unicode61 remove_diacritics 2'
);
CREATE TRIGGER letter_is_searchable AFTER INSERT ON letter BEGIN
    INSERT INTO letter_words (rowid, text, inboxes) VALUES (new.id, new.text, new.inboxes);
END;
