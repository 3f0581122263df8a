-- The state of the reference CRM. Amounts are integer cents; times are RFC 3339 in UTC.

CREATE TABLE customers (
    customer_id TEXT PRIMARY KEY,
    email_folded TEXT NOT NULL UNIQUE,
    name_folded TEXT NOT NULL,          -- "first\nlast\nzip"
    view TEXT NOT NULL,                 -- JSON as the API answers it
    changed TEXT,                       -- JSON of what replaces parts of the view
    name_folded_at_load TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX customers_by_name ON customers (name_folded);

CREATE TABLE payment_methods (
    customer_id TEXT NOT NULL REFERENCES customers,
    payment_method_id TEXT NOT NULL,
    source TEXT NOT NULL,
    balance_minor_units INTEGER,        -- of a gift card, else null
    balance_at_load INTEGER,
    PRIMARY KEY (customer_id, payment_method_id)
) WITHOUT ROWID;

CREATE TABLE products (
    product_id TEXT PRIMARY KEY,
    view TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE items (
    item_id TEXT PRIMARY KEY,
    product_id TEXT NOT NULL REFERENCES products,
    name TEXT NOT NULL,
    available INTEGER NOT NULL,
    price_minor_units INTEGER NOT NULL,
    options TEXT NOT NULL               -- JSON
) WITHOUT ROWID;

CREATE TABLE orders (
    order_id TEXT PRIMARY KEY,
    customer_id TEXT NOT NULL REFERENCES customers,
    status TEXT NOT NULL CHECK (status IN (
        'pending', 'pending (item modified)', 'processed', 'delivered', 'cancelled',
        'return requested', 'exchange requested'
    )),
    cancel_reason TEXT,
    fixed TEXT NOT NULL,                -- JSON as loaded: items, address, tracking_ids
    changed TEXT,                       -- JSON of what replaces or adds to it
    status_at_load TEXT NOT NULL,
    cancel_reason_at_load TEXT
) WITHOUT ROWID;

-- Payments and refunds; a refund has an id, a payment has none.
CREATE TABLE payments (
    payment_seq INTEGER PRIMARY KEY,
    order_id TEXT NOT NULL REFERENCES orders,
    kind TEXT NOT NULL CHECK (kind IN ('payment', 'refund')),
    amount_minor_units INTEGER NOT NULL CHECK (amount_minor_units > 0),
    payment_method_id TEXT NOT NULL,
    refund_id TEXT UNIQUE,
    reverses TEXT UNIQUE,               -- of a payment that takes a refund back
    reference TEXT,
    created_at TEXT,                    -- null for what came with the data
    CHECK ((kind = 'refund') = (refund_id IS NOT NULL))
);
CREATE INDEX payments_by_order ON payments (order_id, kind, amount_minor_units);

CREATE TABLE notes (
    note_seq INTEGER PRIMARY KEY,
    note_id TEXT NOT NULL UNIQUE,
    order_id TEXT NOT NULL REFERENCES orders,
    author TEXT NOT NULL,
    text TEXT NOT NULL,
    created_at TEXT NOT NULL
);
CREATE INDEX notes_by_order ON notes (order_id);

CREATE TABLE replies (
    reply_seq INTEGER PRIMARY KEY,
    reply_id TEXT NOT NULL UNIQUE,
    customer_id TEXT NOT NULL REFERENCES customers,
    channel TEXT NOT NULL,
    text TEXT NOT NULL,
    reference TEXT NOT NULL,
    delivered_at TEXT NOT NULL
);
CREATE INDEX replies_by_customer ON replies (customer_id);

-- Resets of access, offers and handovers: what was asked, and the reference with it.
CREATE TABLE requests (
    request_seq INTEGER PRIMARY KEY,
    request_id TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL CHECK (kind IN ('access_reset', 'offer', 'handover')),
    customer_id TEXT NOT NULL REFERENCES customers,
    what TEXT NOT NULL,                 -- the channel, the offer's code, the summary
    reference TEXT NOT NULL,
    created_at TEXT NOT NULL
);
CREATE INDEX requests_by_customer ON requests (customer_id, kind);
CREATE UNIQUE INDEX offers_once ON requests (customer_id, what) WHERE kind = 'offer';

-- AUTOINCREMENT: a number is never given twice, not even after a reset.
CREATE TABLE journal (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    at TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN (
        'cancel', 'refund', 'note', 'reply', 'order_address', 'items', 'payment',
        'return', 'exchange', 'customer_address', 'access_reset', 'offer', 'handover',
        'reversal'
    )),
    object TEXT NOT NULL,
    customer_id TEXT NOT NULL,
    amount_minor_units INTEGER,
    reference TEXT,
    idempotency_key TEXT
);

CREATE TABLE replays (
    idempotency_key TEXT PRIMARY KEY,
    fingerprint TEXT NOT NULL,          -- SHA-256 of method, path and canonical body
    stored_at_us INTEGER NOT NULL,      -- microseconds since 1970
    status INTEGER NOT NULL,
    body TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX replays_by_age ON replays (stored_at_us);
