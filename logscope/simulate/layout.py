"""What the simulator keeps: one column of int64 for each fact of a session, a message or a delivery.

Times are nanoseconds since 1970 UTC, durations of HAProxy milliseconds, delays of Postfix microseconds,
addresses two halves of 128 bits (IPv4 as ::ffff:a.b.c.d). `NULL` (of `correlate.layout`, whose
V_… and TEST_… of postscreen serve here too) stands for "there is none".
"""

from __future__ import annotations

MILLISECOND = 1_000_000
MICROSECOND = 1_000

# --- sessions -----------------------------------------------------------------------------------------------
(
    S_AT,  # accepted by the balancer, whole milliseconds
    S_STREAM,
    S_CLIENT,  # number of the client in the population
    S_HI,
    S_LO,
    S_PORT,
    S_BALANCER,  # the one the client met first; -1: the client went past the balancer
    S_SERVICE,  # 0 smtp, 1 submission
    S_SERVER,  # -1: none was reached
    S_BACK_PORT,  # the balancer's own port towards the server
    S_OUTER_PORT,  # the outer balancer's own port towards the inner one
    S_BEHAVIOUR,
    S_FAULT,  # number of the fault that made it what it is; -1: none
    S_QUEUE,  # Tw, -1 where not reached
    S_CONNECT,  # Tc, -1 where not reached
    S_DURATION,  # Tt
    S_TERMINATION,  # index into TERMINATIONS
    S_BYTES,  # to the client
    S_RETRIES,
    S_HEADER,  # what became of the PROXY header, H_…
    S_CONNECTED,  # first line of the mail server; NULL: it has none
    S_VERDICT,
    S_VERDICT_AT,  # its line; NULL: it has none
    S_TESTS,  # bits
    S_RANK,  # DNSBL
    S_SCREEN_END,  # postscreen's DISCONNECT; NULL where smtpd took over
    S_SMTPD_AT,  # connect from; NULL where smtpd never saw it
    S_SMTPD_END,  # disconnect from
    S_PID,  # of smtpd
    S_TLS,  # 1: STARTTLS was used
    S_USER,  # number of the user who logged in; -1: nobody
    S_REJECT,  # index into REJECTS; 0: nothing was refused
    S_REJECT_COUNT,
    S_MESSAGES,  # that reached smtpd's queue file, in order from
    S_FIRST_MESSAGE,  # this row
    S_QUEUED,  # messages that reached the queue
    S_RECIPIENTS,  # of the queued messages
    S_OUTCOME,
    S_OPEN,  # sessions open at the balancer when this one was accepted, itself included
    S_OPEN_SERVER,  # the same for its server
    S_SKEW,  # what the server's clock is ahead, ns
    S_LOST,  # bit 0: the balancer's line is lost; bit 1: all lines of the mail server are
    S_NUMBER,  # in order of arrival, from 0
    S_CONDITION,  # row of the conditions under which it came
    S_NAME,  # spans of the pool, NULL where there is no such text: the peer's host name
    S_HELO,
    S_LOGIN,
    S_FROM,  # of a refused command
    S_TO,
    S_REASON,
    S_HEADER_TEXT,  # a PROXY header of version 2 as Postfix shows it
    S_COUNTERS,  # ` ehlo=1 …` of smtpd's disconnect
    S_COMMANDS_OK,
    S_COMMANDS,
    S_WIDTH,
) = range(55)

# --- messages -----------------------------------------------------------------------------------------------
(
    M_SESSION,  # row of the session in the same block; -1: a notice that bounce(8) wrote
    M_SERVER,
    M_QUEUED,  # `client=`, or the notice's first line
    M_ID_AT,  # `message-id=`; NULL: the message never came
    M_ACTIVE,  # `(queue active)`
    M_REMOVED,
    M_QUEUE_ID,  # microseconds << 32 | inode
    M_NUMBER,  # random, for the message-id
    M_SENDER,  # number of the local part; -1: the null sender
    M_DOMAIN,  # of the sender
    M_SIZE,
    M_RECIPIENTS,
    M_STATUS,  # index into correlate's FINAL_STATUSES
    M_FIRST_DELIVERY,
    M_DELIVERIES,
    M_ATTEMPTS,  # how often the queue manager took it up
    M_PARENT,  # row of the message that a notice is about
    M_RETRY,  # when it was first taken up again
    M_SKEW,
    M_LOST,
    M_ID,  # spans of the pool: the queue id
    M_MESSAGE_ID,
    M_FROM,
    M_WIDTH,
) = range(24)

# --- deliveries ---------------------------------------------------------------------------------------------
(
    D_MESSAGE,  # row
    D_AT,
    D_AGENT,
    D_RECIPIENT,  # number of the local part
    D_DESTINATION,
    D_DELAY,
    D_BEFORE_QUEUE,
    D_IN_QUEUE,
    D_CONNECT,
    D_TRANSMIT,
    D_STATUS,
    D_REPLY,  # index into REPLIES
    D_NEXT,  # number of the id under which the next hop queued it
    D_BEGIN,  # when the queue manager took the message up for this attempt
    D_HI,  # address of the next hop
    D_LO,
    D_TO,  # spans of the pool
    D_HOST,
    D_SAID,
    D_WIDTH,
) = range(20)

# --- what clients do ----------------------------------------------------------------------------------------
(
    B_DELIVERED,
    B_UNKNOWN_USER,  # 550 5.1.1
    B_RELAY_DENIED,  # 554 5.7.1
    B_HELO_REJECTED,  # 504 5.5.2
    B_SENDER_REJECTED,  # 450 4.1.8
    B_LOST_CONNECT,
    B_LOST_EHLO,
    B_LOST_RCPT,
    B_LOST_DATA,
    B_QUIT,
    B_BAD_PASSWORD,
    B_TIMEOUT,
    B_TOO_MANY_ERRORS,
    B_LISTED,
    B_DENYLISTED,
    B_PREGREET,
    B_SCREEN_HANGUP,
    B_HOARD,  # holds the connection open, saying next to nothing
    B_COUNT,
) = range(19)
BEHAVIOURS = (
    "delivered",
    "unknown_user",
    "relay_denied",
    "helo_rejected",
    "sender_rejected",
    "lost_connect",
    "lost_ehlo",
    "lost_rcpt",
    "lost_data",
    "quit",
    "bad_password",
    "timeout",
    "too_many_errors",
    "listed",
    "denylisted",
    "pregreet",
    "screen_hangup",
    "hoard",
)

# --- what became of the PROXY header ------------------------------------------------------------------------
H_PASSED, H_MASKED, H_MISSING, H_UNEXPECTED = range(4)
HEADERS = ("passed", "masked", "missing", "unexpected")

# --- HAProxy's two letters ----------------------------------------------------------------------------------
TERMINATIONS = ("--", "CD", "SD", "SC", "sQ", "cD", "CC", "D-", "K-")
T_NORMAL, T_CLIENT, T_SERVER, T_NO_SERVER, T_QUEUE, T_CLIENT_TIMEOUT, T_CLIENT_CONNECT, T_DOWN, T_KILLED = (
    range(9)
)

# --- refusals: stage, code, dsn -----------------------------------------------------------------------------
(
    R_NOTHING,
    R_UNKNOWN_USER,
    R_RELAY_DENIED,
    R_HELO,
    R_SENDER,
    R_LISTED,
    R_UNAVAILABLE,  # postscreen's denylist
    R_SERVER,  # a server whose tables cannot be read
    R_POLICY,  # a wave of refusals
    R_PROTOCOL,  # postscreen, to those who talk too early
) = range(10)
REJECTS = (
    ("", 0, 0),
    ("RCPT", 550, 5_001_001),
    ("RCPT", 554, 5_007_001),
    ("RCPT", 504, 5_005_002),
    ("RCPT", 450, 4_001_008),
    ("RCPT", 550, 5_007_001),
    ("RCPT", 550, 5_003_002),
    ("RCPT", 451, 4_003_000),
    ("RCPT", 554, 5_007_001),
    ("RCPT", 550, 5_005_001),
)

# --- delivery -----------------------------------------------------------------------------------------------
A_VIRTUAL, A_RELAY, A_SMTP = range(3)
REPLIES = ("delivered to maildir", "queued", "greylisted", "unknown", "refused", "timeout")
(
    Y_MAILDIR,
    Y_QUEUED,
    Y_GREYLISTED,  # 450 4.2.0
    Y_UNKNOWN,  # 550 5.1.1
    Y_REFUSED,  # 421 4.7.0, a destination that wants no more for now
    Y_TIMEOUT,  # connect to … timed out
) = range(6)
REPLY_DSN = (2_000_000, 2_000_000, 4_002_000, 5_001_001, 4_007_000, 4_004_001)

# --- streams: who comes -------------------------------------------------------------------------------------
(
    Q_FIRST,  # number of its first client
    Q_CLIENTS,
    Q_TAIL,  # how unevenly they come: the k-th of n is drawn as n * u ** tail
    Q_AGAIN,  # share of sessions whose client is that of the stream's last one
    Q_SERVICE,
    Q_NEAR,  # 1: its clients are neighbours in one network
    Q_SPLIT,  # 1: those that postscreen keeps away are the first half of the clients, the others the second
    Q_FAULT,
    Q_SIZE,  # factor of the size of messages
    Q_RECIPIENTS,  # mean number of recipients
    Q_MESSAGES,  # mean number of messages of a session
    Q_USERS,  # how many accounts log in
    Q_FIRST_USER,
    Q_TRIES,  # passwords tried in a session
    Q_HOLD,  # seconds that a hoarder stays
    Q_PAST,  # the server that it goes to directly, past the balancer; -1: it does not
    Q_MIX,  # and from here the cumulated shares of the behaviours
) = range(17)
Q_WIDTH = Q_MIX + B_COUNT

# --- conditions: what holds for some time, for each server … ------------------------------------------------
(
    C_WEIGHT,  # 0: the balancer sends nobody there
    C_CONNECT,  # factor of the time to connect
    C_QUEUE,  # milliseconds in HAProxy's queue, mean of those added
    C_SCREEN,  # factor of postscreen's wait
    C_TALK,  # factor of the time that the dialogue takes
    C_REJECT,  # share of sessions refused because of the server
    C_ABORT,  # share of sessions cut by the server
    C_HEADER_SMTP,  # H_… with which this share …
    C_SHARE_SMTP,  # … of sessions is met
    C_HEADER_SUBMISSION,
    C_SHARE_SUBMISSION,
    C_DNSBL,  # 1: its blocklists answer
    C_SKEW,  # ns that its clock is ahead
    C_DRIFT,  # ns that it gains each second, since
    C_SINCE,  # this moment
    C_LOSE,  # share of sessions whose lines are lost
    C_REFUSE,  # 1: connections are refused and the balancer does not know it yet
    C_FAULT,  # number of the fault that struck it; -1: none
    C_CONDITIONS,
) = range(19)
# … and for all together
(
    G_DESTINATION,  # -1 none
    G_DEFER,  # share of attempts that it defers
    G_UNKNOWN,  # share of attempts that bounce, anywhere
    G_BEFORE_QUEUE,  # factors of the four parts of the delay of delivery
    G_IN_QUEUE,
    G_CONNECT,
    G_TRANSMIT,
    G_POLICY,  # share of sessions refused by a rule
    G_LEAVE,  # share of clients that leave in mid-session
    G_LOSE,  # share of the balancer's lines that are lost
    G_UNTIL,  # ns, when the destination takes mail again
    G_SIZE,  # factor of the size of messages
    G_BALANCER,  # whose lines are lost; -1: those of all
    G_FAULT,  # number of the fault; -1 none
    G_WIDTH,
) = range(15)
# … and what holds all the time
(
    P_SERVERS,
    P_BALANCERS,
    P_INNER,
    P_CLIENTS,
    P_TALK,
    P_CONNECT_MS,
    P_SCREEN,
    P_START,
    P_WIDTH,
) = range(9)

# Outcomes of schema.OUTCOMES, by their place.
(
    O_UNKNOWN, O_DELIVERED, O_PARTLY, O_ACCEPTED, O_DEFERRED, O_BOUNCED, O_REJECTED, O_SCREENED, O_NO_MAIL,
    O_ABORTED, O_TIMEOUT, O_SERVER_ERROR, O_NO_SERVER, O_PROBE, O_OPEN,
) = range(15)  # fmt: skip
