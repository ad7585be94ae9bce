"""The kinds of findings: how grave each is, what would make it wrong, and what to do next."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """What is known of a kind of finding before one is made.

    Attributes:
        title: what it is, in a few words.
        severity: critical, warning or info.
        doubt: what would make it wrong.
        steps: what to do; `{name}` is the scope's name.
    """

    title: str
    severity: str
    doubt: str
    steps: tuple[str, ...]


KINDS: dict[str, Kind] = {
    "silence": Kind(
        "no sessions", "critical",
        "The log is incomplete here (rotation, a stopped syslog), or the site was switched off on purpose.",
        (
            "See whether the balancer listens (`ss -ltn`) and whether its log was written in these minutes.",
            "Try a session from outside: `nc YOUR-MX 25`.",
        ),
    ),
    "drop": Kind(
        "fewer sessions than usual", "warning",
        "A holiday that begins in the middle of the day, or a large sender that moved elsewhere.",
        (
            ("Compare listeners and balancers: if only one fell, look at what is in front of it (DNS, "
            "firewall, route)."),
            "See whether connections are refused before they are logged (`maxconn`, SYN drops).",
        ),
    ),
    "surge": Kind(
        "more sessions than usual", "warning",
        "A campaign or a test that somebody knows of; a queue elsewhere that is emptied after an outage.",
        (
            "Look at the clients named here and at what became of their sessions.",
            "If they are not welcome: a rate limit in postscreen or anvil, or `deny` in the balancer.",
        ),
    ),
    "ramp": Kind(
        "sessions grow beyond what is usual at this time", "warning",
        "Growth that is wanted, for instance a new domain or a moved mailing list.",
        ("See which clients and listeners grow, and whether the servers have room for more.",),
    ),
    "heavy_client": Kind(
        "a new client brings much", "warning",
        "A legitimate sender that has moved to a new address, or a new monitoring host (put it on the "
        "allowlist).",
        (
            "See what it did: `logscope sessions FILES -o jsonl | grep '\"{name}\"'`.",
            "If it is wanted: `--allow {name}`. If not: postscreen_access or the balancer can deny it.",
        ),
    ),
    "heavy_network": Kind(
        "a new network brings much", "warning",
        "A provider that added addresses, or a customer's new range.",
        (
            "Look up whose network {name} is, and what became of its sessions.",
            "If it is wanted: `--allow {name}`. If not: postscreen_access takes networks too.",
        ),
    ),
    "auth_guessing": Kind(
        "one client guesses passwords", "warning",
        "A device with an old password tries again and again, or many users behind one address.",
        (
            "See which accounts were tried, and whether one succeeded afterwards.",
            "Ban {name} (fail2ban, postscreen_access) and see that smtpd_client_auth_rate_limit is set.",
        ),
    ),
    "auth_guessing_distributed": Kind(
        "many clients guess passwords", "warning",
        "The password service is down or a password policy changed, so that real users fail as well.",
        (
            "See which accounts were tried; make sure that the ones that succeeded meanwhile are genuine.",
            ("A limit for each address does not help here: limit tries for each account, or offer AUTH "
            "on submission only."),
        ),
    ),
    "auth_outage": Kind(
        "logins fail for everybody", "critical",
        "An attack on all accounts at the same time as a quiet moment of the real users.",
        (("Look at the password service (Dovecot or Cyrus SASL): its log, its socket, its directory behind "
         "it."),),
    ),
    "pregreet_wave": Kind(
        "clients that talk before the greeting", "info",
        "A legitimate client with a broken SMTP implementation, behind many addresses.",
        (("postscreen stops them. See that its action is `enforce` or `drop`, and that the servers are not "
         "busy with them."),),
    ),
    "dnsbl_surge": Kind(
        "clients on blocklists", "info",
        "A blocklist that lists too much (some answer for every address when their quota is used up).",
        (
            "See whether known senders are among the refused clients.",
            "If one list alone grew, ask it by hand: `dig +short 2.0.0.127.LIST`.",
        ),
    ),
    "dnsbl_down": Kind(
        "blocklists no longer answer", "warning",
        "The bots are gone: then there are fewer sessions in all, not only fewer refusals.",
        (
            ("Ask the lists by hand from the mail server: `dig +short 2.0.0.127.LIST`; a public resolver "
            "is often refused."),
            "Look for `dnsblog` warnings in the mail log.",
        ),
    ),
    "backscatter": Kind(
        "bounces for mail that was not sent from here", "warning",
        "A mailing of your own to many dead addresses: then the bounces answer your messages.",
        (("See to whom the bounces go: usually one forged sender. Refuse unknown recipients at RCPT, not "
         "later."),),
    ),
    "user_enumeration": Kind(
        "recipients are tried out", "warning",
        "A mailing list with many dead addresses of yours, or a domain whose users just moved.",
        ("Look at the recipients: names in alphabetical order or from a dictionary are guesses.",
         "smtpd_hard_error_limit and a limit of recipients for each client slow it down."),
    ),
    "connection_scan": Kind(
        "a client connects and leaves", "info",
        "A monitoring host that does not say QUIT (put it on the allowlist).",
        ("If {name} is a monitor of yours: `--allow {name}`. If not, the balancer can deny it.",),
    ),
    "connection_hoarding": Kind(
        "a client holds connections open", "warning",
        "A sender on a very slow line with large messages.",
        (
            ("See how many connections it holds: smtpd_client_connection_count_limit, or `maxconn` for "
            "each source in HAProxy."),
            "See that `timeout client` and smtpd_timeout are not longer than they need be.",
        ),
    ),
    "port_scan": Kind(
        "a client tries many listeners", "info",
        "A monitoring host that is new and does not say QUIT (put it on the allowlist).",
        (
            "See what it did: `logscope trace {name} FILES`.",
            "If it is yours: `--allow {name}`. If not, the balancer can deny it.",
        ),
    ),
    "sender_shift": Kind(
        "one sender's messages are no longer like its own", "warning",
        "A mailing or a large attachment that somebody knows of, or an application that was changed.",
        (
            "Ask {name}, or look at what is queued: `postqueue -j`, `postcat -q ID`.",
            "If it is not theirs: lock the account, change its password, and hold its mail (`postsuper -h`).",
        ),
    ),
    "account_takeover": Kind(
        "an account sends far more than ever", "critical",
        "A mailing that this user announced, or an application that was switched on with this account.",
        (
            "Ask the user, or lock the account now and ask then: every minute costs reputation.",
            "Hold its mail: `postqueue -j`, then `postsuper -h` for what is still queued.",
            "Change the password, and see from which addresses it logged in.",
        ),
    ),
    "message_size": Kind(
        "messages are larger than usual", "info",
        "One large mailing.",
        ("See whose messages they are, and whether the spool has room.",),
    ),
    "server_worse": Kind(
        "one server does worse than its peers", "warning",
        "Traffic that only this server gets (another listener or weight), or a test on it.",
        (
            ("Compare its configuration and its lookups (`postconf -n`, maps, DNS, milter) with those of "
            "its peers."),
            "Take it out of the backend until it is mended: `set server {name} state drain`.",
        ),
    ),
    "server_silent": Kind(
        "one server gets no sessions", "critical",
        "It was taken out of service on purpose (a deployment, a drain).",
        (
            "See what the balancer says of it: `show servers state`, and its `Server … is DOWN` line.",
            ("Try its port from the balancer's host, and look at postfix on it: `postfix status`, "
            "`postfix check`."),
        ),
    ),
    "imbalance": Kind(
        "one server gets more than its part", "info",
        "A weight was changed, or sessions stick to their server on purpose.",
        ("See the weights, the algorithm and the state of its peers in the balancer: `show servers state`.",),
    ),
    "flapping": Kind(
        "one server comes and goes", "warning",
        "Several restarts by hand in a row.",
        (
            "See why its checks fail (`Server … is DOWN, reason: …` in the balancer's log).",
            "A check that is too strict flaps under load: `rise`, `fall`, `inter`, `timeout check`.",
        ),
    ),
    "no_server": Kind(
        "no server takes sessions", "critical",
        "Nothing speaks against it where clients are turned away.",
        (("Look at the servers behind the balancer: postfix running, port open, checks (`show servers "
         "state`)."),),
    ),
    "reject_shift": Kind(
        "more sessions are refused for one reason", "warning",
        "One kind of sender that comes more often just now; see who is refused.",
        (("Look at an example: is it the rule that is wrong or the sender? A map, a DNS server or a policy "
         "service may have failed."),),
    ),
    "termination_shift": Kind(
        "more sessions end in another way than usual", "warning",
        "Clients of one kind that come more often just now.",
        (("The two letters are explained in HAProxy's configuration manual, section 8.5: the first says "
         "who ended the session."),),
    ),
    "outcome_shift": Kind(
        "more sessions end without success", "warning",
        "Clients of one kind that come more often just now.",
        ("Look at some of these sessions, and whether they have a client, a server or a sender in common.",),
    ),
    "queue_latency": Kind(
        "sessions wait in the balancer's queue", "warning",
        "A burst that is over by now.",
        ("All places are taken: see `maxconn` of the servers, and what makes their sessions long.",),
    ),
    "connect_latency": Kind(
        "connecting to the servers takes longer", "warning",
        "Too few sessions to know a median.",
        ("See load, SYN backlog (`ss -ltn`: Recv-Q) and the network between balancer and servers.",),
    ),
    "session_latency": Kind(
        "sessions with mail last longer", "warning",
        "Larger messages, or slower senders than usual.",
        ("See milters and content filters before the queue, DNS lookups of smtpd, and the servers' disks.",),
    ),
    "screen_latency": Kind(
        "postscreen keeps clients longer", "warning",
        "Other bots than usual, which wait longer by themselves.",
        (
            "Blocklists that answer late hold every client: `dig +short 2.0.0.127.LIST` for each of them.",
            "See postscreen_greet_wait and postscreen_dnsbl_timeout, and the load of {name}.",
        ),
    ),
    "delivery_latency": Kind(
        "deliveries take longer", "warning",
        "One slow destination with much mail.",
        (("The part named here says where to look: before the queue manager, in its queue, connecting, or "
         "handing over."),),
    ),
    "deferrals": Kind(
        "mail is deferred", "warning",
        "Greylisting at a destination that is new.",
        (
            "See what the destination says: `logscope sessions FILES --deliveries`.",
            "If it refuses for reputation, slow down: a transport of its own with a rate delay.",
        ),
    ),
    "queue_growth": Kind(
        "the queue to one destination grows", "warning",
        "A mailing to a destination that defers everything at first (greylisting).",
        (
            "See what waits (`qshape deferred`), and why: `logscope sessions FILES --deliveries`.",
            "If {name} takes less than comes: a transport of its own, so that it holds up nobody else.",
        ),
    ),
    "bounces": Kind(
        "deliveries fail", "warning",
        "A mailing to an old list.",
        ("See what the destinations say: `logscope sessions FILES --deliveries`.",),
    ),
    "mta_log_loss": Kind(
        "sessions lack the mail server's side", "warning",
        "A mail log that was not given or ends earlier; clients that leave within the first milliseconds.",
        (
            "See whether syslog drops lines (`imuxsock` or journald rate limits) on {name}.",
            "See that all mail servers' logs were given.",
        ),
    ),
    "log_gap": Kind(
        "a mail server logs nothing", "warning",
        "Its log for this time was not given.",
        ("See whether syslog ran on {name} and its disk had room; the balancer says that sessions went on.",),
    ),
    "balancer_log_loss": Kind(
        "sessions lack the balancer's side", "warning",
        "A second balancer whose log was not given.",
        (("See whether the balancer's syslog target was reachable (UDP loses lines in silence) and its log "
         "rotated."),),
    ),
    "bypass": Kind(
        "clients come past the balancer", "warning",
        "A second balancer or an internal sender whose log was not given.",
        (
            ("See who they are. If the port takes PROXY headers, anybody who can reach it can forge "
            "addresses: firewall it."),
        ),
    ),
    "clock_step": Kind(
        "a clock has jumped", "warning",
        "Stamps with whole seconds, and few sessions.",
        ("See time synchronisation on {name}: `chronyc tracking` or `timedatectl`.",),
    ),
    "clock_drift": Kind(
        "a clock runs away", "warning",
        "Stamps with whole seconds, and few sessions.",
        ("See time synchronisation on {name}: `chronyc tracking` or `timedatectl`.",),
    ),
    "masking": Kind(
        "the balancer hides its clients", "critical",
        "Health checks taken for clients.",
        ("`logscope masking FILES` says since when exactly, and which line of configuration mends it.",),
    ),
}  # fmt: skip
