"""The relay's layout for the real daemons: haproxy.cfg, and main.cf, master.cf and tables of each server.

What the relay alone can do is left out: names of clients and answers of DNS lists that are made up.
"""

from __future__ import annotations

from logscope.relay.balance.settings import BackendSettings, BalancerSettings, FrontendSettings
from logscope.relay.layout import HOSTS, LISTS, USERS, Layout, backend_name

_DISCARDED = "example.org"


def configurations(layout: Layout, directory: str) -> dict[str, str]:
    """Name → content of each file; the directory, absolute, is where they will be."""
    files = {"haproxy.cfg": haproxy_cfg(layout), "run.sh": _run(layout)}
    for number in range(layout.servers):
        host = HOSTS[number]
        files[f"{host}/main.cf"] = main_cf(layout, number, directory)
        files[f"{host}/master.cf"] = master_cf(layout, number)
        files[f"{host}/access"] = "192.0.2.240/29 permit\n198.51.100.248/29 reject\n"
        files[f"{host}/mailboxes"] = _mailboxes(layout)
        files[f"{host}/header_checks"] = "/^Subject: forbidden/ REJECT content not wanted here\n"
        files[f"{host}/transport"] = f"{_DISCARDED} discard:\n" if _has_users(layout) else ""
    return files


# --- HAProxy ------------------------------------------------------------------------------------------------


def haproxy_cfg(layout: Layout) -> str:
    """The balancer. It logs to standard output, as an ordinary user can have it."""
    logging = f'log-format "{layout.log_format}"' if layout.log_format else "option tcplog"
    lines = [
        "# The balancer of relay.toml, for HAProxy; run.sh starts it.",
        "global",
        "    log stdout format rfc3164 local0",
        "    log-send-hostname edge1",
        f"    maxconn {BalancerSettings.max_connections}",
        "",
        "defaults",
        "    log global",
        "    mode tcp",
        f"    {logging}",
        f"    timeout connect {BackendSettings.connect_timeout_s:g}s",
        f"    timeout client {FrontendSettings.client_timeout_s:g}s",
        f"    timeout server {BackendSettings.server_timeout_s:g}s",
    ]
    for name, bind in layout.frontends.items():
        backend = backend_name(name == "ft_masked")
        lines += ["", f"frontend {name}", f"    bind {bind}", f"    default_backend {backend}"]
    # Clients are of this machine too: only an address of its own tells the balancer from them.
    source = " source 127.0.0.2" if layout.listen.address == "127.0.0.1" else ""
    for masked in layout.masked_too:
        lines += ["", f"backend {backend_name(masked)}", "    balance roundrobin"]
        header = "" if masked else {"v1": " send-proxy", "v2": " send-proxy-v2"}.get(layout.send_proxy, "")
        for number in range(layout.servers):
            lines.append(f"    server {HOSTS[number]} {layout.server(number, masked)}{header}{source}")
    return "\n".join(lines) + "\n"


# --- Postfix ------------------------------------------------------------------------------------------------


def main_cf(layout: Layout, number: int, directory: str) -> str:
    """A server's main.cf: an instance of its own, beside any other Postfix of the machine."""
    host = HOSTS[number]
    home, state = f"{directory}/{host}", f"{directory}/state/{host}"
    settings = {
        "compatibility_level": "3.6",
        "queue_directory": f"{state}/spool",
        "data_directory": f"{state}/data",
        "maillog_file": f"{directory}/{host}.log",
        "maillog_file_prefixes": directory,
        "myhostname": f"{host}.{layout.domain}",
        "mydestination": "",
        "mynetworks": "",
        "inet_protocols": "all",
        "biff": "no",
        "alias_maps": "",
        "alias_database": "",
        "local_recipient_maps": "",
        "virtual_mailbox_domains": ", ".join(
            (layout.domain, _DISCARDED) if _has_users(layout) else (layout.domain,)
        ),
        "virtual_mailbox_maps": f"texthash:{home}/mailboxes",
        "virtual_mailbox_base": f"{state}/mail",
        "virtual_uid_maps": "static:65534",
        "virtual_gid_maps": "static:65534",
        "transport_maps": f"texthash:{home}/transport",
        "default_transport": "error:5.4.4 nothing leaves this machine",
        "header_checks": f"regexp:{home}/header_checks",
        "smtpd_banner": "$myhostname ESMTP Postfix",
        "smtpd_peername_lookup": "no",
        "smtpd_client_port_logging": "yes" if layout.port_logging else "no",
        "smtpd_helo_required": "yes",
        "smtpd_helo_restrictions": "reject_invalid_helo_hostname, reject_non_fqdn_helo_hostname",
        "smtpd_sender_restrictions": "reject_non_fqdn_sender",
        "smtpd_relay_restrictions": "reject_unauth_destination",
        "smtpd_data_restrictions": "reject_unauth_pipelining",
        "postscreen_access_list": f"cidr:{home}/access",
        "postscreen_denylist_action": "enforce",
        "postscreen_greet_wait": f"{max(round(layout.greet_wait_s), 1)}s",
        "postscreen_greet_action": "enforce",
    }
    lists = ", ".join(f"{domain}*{weight}" for domain, weight in zip(LISTS, (2, 1), strict=True))
    return (
        f"# {host} of relay.toml, for Postfix; run.sh starts it.\n"
        + "".join(f"{name} = {value}".rstrip() + "\n" for name, value in settings.items())
        + "# The relay makes up what DNS lists say. For those of a real DNS server:\n"
        + f"# postscreen_dnsbl_sites = {lists}\n# postscreen_dnsbl_threshold = 2\n"
        + "# postscreen_dnsbl_action = enforce\n"
    )


_MASTER = """\
dnsblog   unix  -       -       n       -       0       dnsblog
tlsproxy  unix  -       -       n       -       0       tlsproxy
cleanup   unix  n       -       n       -       0       cleanup
qmgr      unix  n       -       n       300     1       qmgr
rewrite   unix  -       -       n       -       -       trivial-rewrite
bounce    unix  -       -       n       -       0       bounce
defer     unix  -       -       n       -       0       bounce
trace     unix  -       -       n       -       0       bounce
proxymap  unix  -       -       n       -       -       proxymap
smtp      unix  -       -       n       -       -       smtp
relay     unix  -       -       n       -       -       smtp
        -o syslog_name=postfix/$service_name
showq     unix  n       -       n       -       -       showq
error     unix  -       -       n       -       -       error
retry     unix  -       -       n       -       -       error
discard   unix  -       -       n       -       -       discard
virtual   unix  -       n       n       -       -       virtual
anvil     unix  -       -       n       -       1       anvil
scache    unix  -       -       n       -       1       scache
postlog   unix-dgram n  -       n       -       1       postlogd
"""


def master_cf(layout: Layout, number: int) -> str:
    """A server's master.cf: what its balancer connects to first, then what every Postfix needs."""
    lines = ["# service type  private unpriv  chroot  wakeup  maxproc command"]
    for masked in layout.masked_too:
        lines += _listener(layout, number, masked)
    return "\n".join(lines) + "\n" + _MASTER


def _listener(layout: Layout, number: int, masked: bool) -> list[str]:
    daemon = "postscreen" if layout.screen else "smtpd"
    limit = "1" if layout.screen else "-"
    expected = not masked and layout.send_proxy != "none"
    lines = [f"{layout.server(number, masked)} inet n - n - {limit} {daemon}"]
    if expected:
        lines.append(f"        -o {daemon}_upstream_proxy_protocol=haproxy")
    if masked:
        lines.append("        -o syslog_name=postfix/masked")
    if masked and layout.screen:
        # Two postscreen services cannot have one cache (postscreen_cache_map in postconf(5)).
        lines.append("        -o postscreen_cache_map=btree:$data_directory/masked_cache")
        lines.append("        -o smtpd_service_name=smtpd_masked")
    if layout.screen:
        name = "smtpd_masked" if masked else "smtpd"
        lines.append(f"{name} pass - - n - - smtpd")
        lines += ["        -o syslog_name=postfix/masked"] if masked else []
    return lines


def _has_users(layout: Layout) -> bool:
    """Whether the domain is the layout's own, with users of its own beside another domain."""
    return layout.domain == "example.com"


def _mailboxes(layout: Layout) -> str:
    """virtual(8) takes nothing from an address into a path, so each user has a line."""
    if not _has_users(layout):
        return f"@{layout.domain} {layout.domain}/everybody/\n"
    users = "".join(f"{user}@{layout.domain} {layout.domain}/{user}/\n" for user in USERS)
    return f"{users}@{_DISCARDED} discarded/\n"


# --- both ---------------------------------------------------------------------------------------------------


def _run(layout: Layout) -> str:
    servers = " ".join(HOSTS[: layout.servers])
    return f"""\
#!/bin/sh
# HAProxy and Postfix with these configurations, as root:  sh run.sh start | stop
# They log to haproxy.log and to a file for each server, beside this one.
set -eu
cd "$(dirname "$0")"
here=$(pwd)
servers="{servers}"

case "${{1-}}" in
start)
    for server in $servers; do
        state=state/$server
        mkdir -p "$state/spool" "$state/data" "$state/mail"
        chown postfix "$state/data"
        chown 65534:65534 "$state/mail"
        postfix -c "$here/$server" start
    done
    haproxy -db -f haproxy.cfg >>haproxy.log 2>&1 &
    echo $! >haproxy.pid
    ;;
stop)
    kill "$(cat haproxy.pid)"
    rm haproxy.pid
    for server in $servers; do
        postfix -c "$here/$server" stop
    done
    ;;
*)
    echo "usage: sh run.sh start | stop" >&2
    exit 2
    ;;
esac
"""
