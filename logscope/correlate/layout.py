"""What the joins keep: rows of int64 in one memory, one row for each thing, one named column for each fact.

The first three columns of every row are its state, how many lives it has had, and its kind.

Times are nanoseconds since 1970 UTC, addresses two halves of 128 bits (IPv4 as ::ffff:a.b.c.d), texts
references into the heap (`offset << 24 | length`). `NULL` stands for "not known" everywhere. Every kernel
has these numbers frozen into it.
"""

from __future__ import annotations

NULL = -(2**63)
SECOND = 1_000_000_000
LONGEST_LINE = 1 << 21  # bytes; no line from which an event is made is longer

# --- events: what the joins read, one row for each line -----------------------------------------------------
(
    E_ORDER,  # running maximum of the source's time: what sources are merged by
    E_TIME,  # the line's own time
    E_STAMP,  # the stamp as written, before any year or zone was put to it
    E_COARSE,  # 1: the stamp has whole seconds
    E_ROLE,
    E_KIND,  # index into the catalogue's kinds
    E_SOURCE,
    E_LINE,
    E_HOST,
    E_SERVICE,
    E_PID,
    E_HI,
    E_LO,
    E_PORT,
    E_HI2,
    E_LO2,
    E_PORT2,
    # hash of the queue id; of a disconnect line, of its host and counters; of a balancer's line, of the short
    # name of its server; of a connect line, of that of its host
    E_QUEUE,
    E_N0,
    E_N1,
    E_N2,
    E_N3,
    E_N4,
    E_N5,
    E_N6,
    E_N7,
    E_N8,
    E_N9,
    E_N10,
    E_N11,
    E_WIDTH,
) = range(31)
# Spans of text in the byte pool, offset << 24 | length; in the place of numbers that only balancers' lines
# have.
E_T0, E_T1, E_T2, E_T3, E_T4, E_T5 = range(E_N6, E_N11 + 1)

# --- what a line is to the joins ----------------------------------------------------------------------------
(
    R_NONE,
    R_BALANCER,
    R_SCREEN_CONNECT,
    R_SCREEN_VERDICT,
    R_SCREEN_TEST,
    R_SCREEN_RANK,
    R_SCREEN_HANGUP,
    R_SCREEN_DISCONNECT,
    R_SCREEN_REJECT,
    R_SCREEN_OTHER,
    R_DNSBLOG,
    R_SMTPD_CONNECT,
    R_SMTPD_DISCONNECT,
    R_SMTPD_CLIENT,
    R_SMTPD_DECISION,
    R_SMTPD_LOST,
    R_SMTPD_TLS,
    R_SMTPD_SASL,
    R_SMTPD_OTHER,
    R_MESSAGE_ID,
    R_QUEUE_ACTIVE,
    R_QUEUE_REMOVED,
    R_DELIVERY,
    R_QUEUE_OTHER,
) = range(24)

# --- screen verdicts (column `screen`) ----------------------------------------------------------------------
(
    V_UNKNOWN,
    V_PASS_NEW,
    V_PASS_OLD,
    V_ALLOWLISTED,
    V_DENYLISTED,
    V_HANDED_OFF,
    V_REJECTED,
    V_DROPPED,
    V_HANGUP,
    V_NONE,
) = range(10)
SCREENS = (
    "unknown",
    "pass_new",
    "pass_old",
    "allowlisted",
    "denylisted",
    "handed_off",
    "rejected",
    "dropped",
    "hangup",
    "none",
)

# --- tests of postscreen that failed (bits of P_TESTS, column `screen_tests`) -------------------------------
SCREEN_TESTS = (
    "pregreet",
    "dnsbl",
    "pipelining",
    "non_smtp_command",
    "bare_newline",
    "command_limit",
    "time_limit",
    "length_limit",
    "connection_limit",
    "ports_busy",
    "no_valid_recipient",
)
(
    TEST_PREGREET,
    TEST_DNSBL,
    TEST_PIPELINING,
    TEST_NON_SMTP,
    TEST_BARE_NEWLINE,
    TEST_COMMAND_LIMIT,
    TEST_TIME_LIMIT,
    TEST_LENGTH_LIMIT,
    TEST_CONNECTION_LIMIT,
    TEST_PORTS_BUSY,
    TEST_NO_RECIPIENT,
) = range(11)

# --- how two hops were linked -------------------------------------------------------------------------------
METHODS = ("", "address_port", "backend_port", "order", "timing", "pid", "queue_id", "header_text")
L_NONE, L_ADDRESS_PORT, L_BACKEND_PORT, L_ORDER, L_TIMING, L_PID, L_QUEUE_ID, L_HEADER_TEXT = range(8)
CONFIDENCES = ("none", "ambiguous", "probable", "exact")
SURE_NONE, SURE_AMBIGUOUS, SURE_PROBABLE, SURE_EXACT = range(4)

# --- delivery status ----------------------------------------------------------------------------------------
STATUSES = ("sent", "deferred", "bounced", "expired", "undeliverable", "deliverable", "other")
D_SENT, D_DEFERRED, D_BOUNCED, D_EXPIRED, D_UNDELIVERABLE, D_DELIVERABLE, D_OTHER = range(7)

# --- keys: an address with a port, and who was seen with it -------------------------------------------------
K_BALANCER_CLIENT, K_BALANCER_BACKEND, K_SCREEN_PEER, K_SCREEN_HEADER, K_SMTPD_PEER, K_SMTPD_HEADER = range(6)
X_STATE, X_SERIAL, X_KIND, X_NEXT, X_HI, X_LO, X_PORT, X_SIDE, X_INDEX, X_WIDTH = range(10)

# --- balancer sessions --------------------------------------------------------------------------------------
FREE, OPEN, CLOSED = 0, 1, 2
# What was handed out before: a part without its other side; a part for which there was no room; all of it,
# before that was decided (see `early`).
SHOWN_ALONE, EVICTED, SHOWN_WHOLE = 1, 2, 3
(
    B_STATE,
    B_SERIAL,  # counts lives of the row, so that a timer can tell its own
    B_KIND,
    B_NEXT,  # chain of unmatched sessions of one client address
    B_KEY,
    B_KEY2,
    B_HI,
    B_LO,
    B_PORT,
    B_SOURCE_HI,  # %bi:%bp, the balancer's own address and port towards the server
    B_SOURCE_LO,
    B_SOURCE_PORT,
    B_HOST,
    B_PID,
    B_STAMP,
    B_FRONTEND,
    B_BACKEND,
    B_SERVER,
    B_ACCEPTED,
    B_QUEUE,
    B_CONNECT,
    B_DURATION,
    B_ASAP,  # logged at connect time: duration and bytes are so far
    B_BYTES_CLIENT,
    B_BYTES_SERVER,
    B_RETRIES,
    B_TERMINATION,  # dictionary code
    B_LOGGED,
    B_START,  # when the server side was connected, by the balancer's clock
    B_END,
    B_P,
    B_S,
    B_METHOD,
    B_CONFIDENCE,
    B_PROBABILITY,  # parts of a million
    B_SRC,
    B_LINE,
    B_EXPIRED,
    B_DOUBT,
    B_AMBIGUOUS,  # several visits would fit
    B_WATCHED,  # is among its server's sessions without a visit
    B_OUTER,  # the session of the balancer before this one, and behind
    B_INNER,
    B_CHAIN_METHOD,  # of the link to the one before
    B_CHAIN_CONFIDENCE,
    B_CHAIN_PROBABILITY,
    B_LOOKED,  # what it teaches of balancers in a row has been noted
    B_SHOWN,
    B_EARLY,  # the visit that it was shown with before that was decided, see `early`
    B_WIDTH,
) = range(50)

# --- postscreen sessions ------------------------------------------------------------------------------------
(
    P_STATE,
    P_SERIAL,
    P_KIND,
    P_KEY,
    P_KEY2,
    P_CLUSTER,
    P_CNEXT,
    P_CPREV,
    P_HI,
    P_LO,
    P_PORT,
    P_DEST_HI,
    P_DEST_LO,
    P_DEST_PORT,
    P_HOST,
    P_SERVICE,
    P_PID,
    P_STAMP,
    P_CONNECTED,
    P_COARSE,
    P_VERDICT,
    P_VERDICT_AT,
    P_MOMENT,  # count of events up to its verdict, else its CONNECT: order where stamps have whole seconds
    P_ARRIVED,  # the same count at its CONNECT, and at its DISCONNECT
    P_END_MOMENT,
    P_ENDED,
    P_HANGUP,
    P_TESTS,
    P_RANK,
    P_HEADER,  # an unexpected PROXY header was seen: 0 no, 1 v1 text, 2 v2 signature
    P_B,
    P_S,
    P_METHOD,  # of the link to smtpd
    P_CONFIDENCE,
    P_PROBABILITY,
    P_EVENTS,
    P_EVENTS_LAST,
    P_REJECTS,
    P_REJECTS_LAST,
    P_REJECTED,
    P_HELO,
    P_NO_BALANCER,  # waited for the balancer's line in vain
    P_EXPIRED,
    P_DOUBT,  # parts of a million that an smtpd session linked elsewhere had in it
    P_AMBIGUOUS,  # several balancer sessions would fit
    P_WATCHED,
    P_HEADER_HI,
    P_HEADER_LO,
    P_HEADER_PORT,
    P_SHOWN,
    P_EARLY,  # the balancer session that it was shown with, see `early`
    P_WIDTH,
) = range(52)

# --- smtpd sessions -----------------------------------------------------------------------------------------
(
    S_STATE,
    S_SERIAL,
    S_KIND,
    S_NEXT,  # chain of (host, pid)
    S_KEY,
    S_KEY2,
    S_CLUSTER,
    S_CNEXT,
    S_CPREV,
    S_HI,
    S_LO,
    S_PORT,
    S_HOST,
    S_SERVICE,
    S_PID,
    S_STAMP,
    S_STARTED,
    S_COARSE,
    S_ENDED,
    S_MOMENT,  # count of events up to its start, and to its end
    S_END_MOMENT,
    S_P,
    S_B,
    S_NAME,
    S_HELO,
    S_TLS_PROTOCOL,
    S_TLS_CIPHER,
    S_SASL_METHOD,
    S_SASL_USER,
    S_COMMANDS,
    S_SIGNATURE,  # hash of host and disconnect counters: sessions that talked alike got about as many bytes
    S_COMMANDS_OK,
    S_COMMANDS_ALL,
    S_LOST,  # 1 lost connection, 2 timeout, 3 too many errors
    S_HEADER,  # 0 nothing odd, 1 v1 text, 2 v2 signature, 3 header missing or bad (haproxy read)
    S_EVENTS,
    S_EVENTS_LAST,
    S_REJECTS,
    S_REJECTS_LAST,
    S_REJECTED,
    S_MESSAGES,
    S_MESSAGES_LAST,
    S_MESSAGE_COUNT,
    S_QUEUED_US,  # microseconds within the second at which its latest queue file was made
    S_OPEN_MESSAGES,
    S_SENT,
    S_DEFERRED,
    S_BOUNCED,
    S_SASL_FAILURES,
    S_NO_BALANCER,
    S_DOUBT,  # parts of a million that it had in sessions linked to others
    S_AMBIGUOUS,
    S_WATCHED,
    S_IMPLIED,  # no connect line was read: the log began in mid-session
    S_HEADER_HI,
    S_HEADER_LO,
    S_HEADER_PORT,
    S_SHOWN,
    S_EARLY,
    S_WIDTH,
) = range(60)

# --- clusters: postscreen and smtpd sessions of one host and client address that may belong together --------
(
    C_STATE,
    C_SERIAL,
    C_KIND,
    C_NEXT,
    C_CURRENT,  # 1: new sessions of the address join it
    C_HOST,
    C_HI,
    C_LO,
    C_P_FIRST,
    C_P_LAST,
    C_P_COUNT,
    C_S_FIRST,
    C_S_LAST,
    C_S_COUNT,
    C_SOLVED_AT,  # when it was last tried to link them, and how many smtpd sessions were left then
    C_LEFT_OVER,
    C_WIDTH,
) = range(17)

# --- messages -----------------------------------------------------------------------------------------------
(
    M_STATE,
    M_SERIAL,
    M_KIND,
    M_NEXT,
    M_S,
    M_S_NEXT,
    M_HOST,
    M_QUEUE,
    M_QUEUED,
    M_QUEUE_ID,
    M_MESSAGE_ID,
    M_SENDER,
    M_SIZE,
    M_RECIPIENTS,
    M_REMOVED,
    M_SENT,
    M_DEFERRED,
    M_BOUNCED,
    M_EXPIRED,
    M_REJECTED,
    M_HELD,
    M_DISCARDED,
    M_NEXT_QUEUE_ID,
    M_EVENTS,
    M_EVENTS_LAST,
    M_LAST,
    M_WIDTH,
) = range(27)

# --- list nodes ---------------------------------------------------------------------------------------------
N_STATE, N_SERIAL, N_KIND, N_NEXT, N_SOURCE, N_LINE, N_WIDTH = range(7)
(
    J_STATE,
    J_SERIAL,
    J_KIND,
    J_NEXT,
    J_ACTION,
    J_STAGE,
    J_CODE,
    J_DSN,
    J_TEXT,
    J_SENDER,
    J_RECIPIENT,
    J_WIDTH,
) = range(12)

# --- deliveries, handed out at once -------------------------------------------------------------------------
(
    Y_STATE,
    Y_SERIAL,
    Y_KIND,
    Y_NEXT,
    Y_HOST,
    Y_QUEUED,
    Y_LOGGED,
    Y_RELAY_HI,
    Y_RELAY_LO,
    Y_RELAY_PORT,
    Y_DELAY,
    Y_DELAY_A,
    Y_DELAY_B,
    Y_DELAY_C,
    Y_DELAY_D,
    Y_STATUS,
    Y_QUEUE_ID,
    Y_RECIPIENT,
    Y_ORIGINAL,
    Y_RELAY,
    Y_REPLY,
    Y_DSN,
    Y_TLS,
    Y_SOURCE,
    Y_LINE,
    Y_WIDTH,
) = range(26)

# --- deadlines, and sessions handed out ---------------------------------------------------------------------
T_STATE, T_SERIAL, T_KIND, T_NEXT, T_AT, T_INDEX, T_OF, T_WIDTH = range(8)
# Z_EARLY: 1 where it is shown before that is decided, 2 where its balancer's link is lent for that only
Z_STATE, Z_SERIAL, Z_KIND, Z_NEXT, Z_BALANCER, Z_SCREEN, Z_SMTPD, Z_EARLY, Z_WIDTH = range(9)
