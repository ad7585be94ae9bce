"""Configuration files of the lab's daemons, made from a scenario."""

from __future__ import annotations

from .layouts import CONTAINER, quiet_binds
from .model import TCPLOG, Scenario, Service
from .network import BALANCER, PUBLIC_V6, SERVERS, SERVICES

#: Appended to the log-format while the lab runs and cut off before anything is published:
#: the balancer's own address and port towards the server, the server's, and HAProxy's count of sessions,
#: which grows in the order in which it accepted them.
TRUTH_SUFFIX = " truth=%bi:%bp,%si:%sp,%rt"


UNPRIVILEGED = ("    chroot /var/lib/haproxy", "    user haproxy", "    group haproxy")


def haproxy_cfg(
    scenario: Scenario, admin_socket: str = "/run/haproxy/admin.sock", *, truth: bool = False
) -> str:
    """haproxy.cfg as published or, with `truth`, as run: the log line then ends in `TRUTH_SUFFIX`."""
    log_format = scenario.log_format or TCPLOG
    if truth:
        logging = f'log-format "{log_format}{TRUTH_SUFFIX}"'
    else:
        logging = f'log-format "{log_format}"' if scenario.log_format else "option tcplog"
    transport = " format rfc5424" if scenario.rfc5424 else ""
    lines = [
        "global",
        f"    log {SERVICES}:514{transport} local0",
        "    log-send-hostname edge1",
        f"    stats socket {admin_socket} mode 660 level admin",
        *(() if scenario.layout in ("transparent", "unix-front") else UNPRIVILEGED),
        "    nbthread 1",
        "    maxconn 4000",
        "",
        "defaults",
        "    log global",
        "    mode tcp",
        f"    {logging}",
        "    timeout connect 5s",
        "    timeout client 1m",
        "    timeout server 1m",
    ]
    for service in scenario.services:
        lines += _proxies(scenario, service, admin_socket.rpartition("/")[0])
    return "\n".join(lines) + "\n"


def _proxies(scenario: Scenario, service: Service, run: str) -> list[str]:
    binds = [
        bind.format(port=service.port, run=run) if "{port}" in bind else f"{bind}:{service.port}"
        for bind in quiet_binds(scenario) or service.bind or scenario.bind
    ]
    lines = ["", f"frontend ft_{service.name}"]
    lines += [f"    bind {bind}" for bind in binds]
    lines += [f"    {line}" for line in scenario.frontend]
    lines += [f"    default_backend bk_{service.name}", ""]
    lines += [f"backend bk_{service.name}", "    balance roundrobin"]
    lines += [f"    {line}" for line in scenario.backend]
    for host in scenario.hosts:
        address = f"{scenario.address(host)}:{service.node_port}"
        words = ["    server", host, address, service.send[host], scenario.server]
        lines.append(" ".join(word for word in words if word))
    return lines


MAIN = """\
compatibility_level = 3.6
mydomain = example.com
myorigin = $mydomain
mydestination = localhost
inet_interfaces = all
inet_protocols = all
mynetworks = 127.0.0.0/8 [::1]/128
smtpd_banner = $myhostname ESMTP Postfix
biff = no
append_dot_mydomain = no
alias_maps =
alias_database =
relayhost = [{services}]:2525
virtual_mailbox_domains = example.com, example.org
virtual_mailbox_maps = texthash:/etc/postfix/vmailbox
virtual_mailbox_base = /var/mail/vhosts
virtual_uid_maps = static:5000
virtual_gid_maps = static:5000
virtual_alias_maps = texthash:/etc/postfix/virtual
relay_domains = example.net, bounce.example.net, defer.example.net
transport_maps = texthash:/etc/postfix/transport
maximal_backoff_time = 300s
minimal_backoff_time = 60s
smtpd_helo_required = yes
smtpd_helo_restrictions = permit_mynetworks, reject_invalid_helo_hostname, reject_non_fqdn_helo_hostname
smtpd_sender_restrictions = reject_non_fqdn_sender, reject_unknown_sender_domain
smtpd_relay_restrictions = permit_mynetworks, permit_sasl_authenticated, reject_unauth_destination
smtpd_data_restrictions = reject_unauth_pipelining
smtpd_timeout = 12s
message_size_limit = 10240000
header_checks = regexp:/etc/postfix/header_checks
smtpd_client_connection_count_limit = 30
smtpd_client_connection_rate_limit = 0
anvil_status_update_time = 60s
smtpd_tls_security_level = may
smtpd_tls_cert_file = /etc/postfix/tls.crt
smtpd_tls_key_file = /etc/postfix/tls.key
smtpd_tls_loglevel = 1
smtpd_sasl_auth_enable = yes
smtpd_sasl_type = dovecot
smtpd_sasl_path = inet:{services}:12345
postscreen_access_list = permit_mynetworks, cidr:/etc/postfix/postscreen_access.cidr
postscreen_denylist_action = enforce
postscreen_greet_wait = 3s
postscreen_command_time_limit = 15s
postscreen_greet_action = enforce
postscreen_dnsbl_sites = zen.dnsbl.example*2, bl.list.example*1, wl.list.example*-2
postscreen_dnsbl_threshold = 2
postscreen_dnsbl_action = enforce
"""


def main_cf(scenario: Scenario, host: str, *, truth: bool = False) -> str:
    """main.cf of one server; with `truth`, smtpd logs ports whatever the scenario publishes."""
    settings = {"myhostname": f"{host}.example.com"}
    for line in MAIN.format(services=SERVICES).splitlines():
        name, _, value = line.partition(" =")
        settings[name] = value.strip()
    settings |= scenario.main
    if settings["compatibility_level"] == "2":
        # The old names of the parameters; the new ones came with Postfix 3.6.
        settings["postscreen_blacklist_action"] = settings.pop("postscreen_denylist_action")
    if len(scenario.services) == 1 and scenario.services[0].expect[host]:
        settings[_protocol_parameter(scenario.services[0])] = "haproxy"
    if truth or scenario.port_logging:
        settings["smtpd_client_port_logging"] = "yes"
    return f"# {host}\n" + "".join(f"{name} = {value}".rstrip() + "\n" for name, value in settings.items())


MASTER = """\
# service type  private unpriv  chroot  wakeup  maxproc command
dnsblog   unix  -       -       n       -       0       dnsblog
tlsproxy  unix  -       -       n       -       0       tlsproxy
pickup    unix  n       -       n       60      1       pickup
cleanup   unix  n       -       n       -       0       cleanup
qmgr      unix  n       -       n       300     1       qmgr
tlsmgr    unix  -       -       n       1000?   1       tlsmgr
rewrite   unix  -       -       n       -       -       trivial-rewrite
bounce    unix  -       -       n       -       0       bounce
defer     unix  -       -       n       -       0       bounce
trace     unix  -       -       n       -       0       bounce
verify    unix  -       -       n       -       1       verify
flush     unix  n       -       n       1000?   0       flush
proxymap  unix  -       -       n       -       -       proxymap
proxywrite unix -       -       n       -       1       proxymap
smtp      unix  -       -       n       -       -       smtp
relay     unix  -       -       n       -       -       smtp
        -o syslog_name=postfix/$service_name
showq     unix  n       -       n       -       -       showq
error     unix  -       -       n       -       -       error
retry     unix  -       -       n       -       -       error
discard   unix  -       -       n       -       -       discard
local     unix  -       n       n       -       -       local
virtual   unix  -       n       n       -       -       virtual
lmtp      unix  -       -       n       -       -       lmtp
anvil     unix  -       -       n       -       1       anvil
scache    unix  -       -       n       -       1       scache
"""


def master_cf(scenario: Scenario, host: str) -> str:
    """master.cf of one server: its public services first."""
    alone = len(scenario.services) == 1
    entries = (_entry(service, host, alone, scenario.layout) for service in scenario.services)
    return "".join(entries) + scenario.master + MASTER


def _protocol_parameter(service: Service) -> str:
    return f"{service.daemon}_upstream_proxy_protocol"


def _entry(service: Service, host: str, alone: bool, layout: str) -> str:
    options = dict(service.master_options)
    if service.syslog_name:
        options["syslog_name"] = service.syslog_name
    if service.expect[host] and not alone:  # alone, it is in main.cf
        options[_protocol_parameter(service)] = "haproxy"
    limit = "1" if service.daemon == "postscreen" else "-"
    place = f"{CONTAINER}:{service.node_port}" if layout == "docker-inside" else service.node_port
    lines = [f"{place:<9} inet  n       -       n       -       {limit:<7} {service.daemon}"]
    lines += [f"        -o {name}={value}" for name, value in options.items()]
    if service.daemon == "postscreen":
        lines.append("smtpd     pass  -       -       n       -       -       smtpd")
    return "\n".join(lines) + "\n"


TABLES = {
    "vmailbox": "".join(f"user{n}@example.com v{n}/\nbox{n}@example.org b{n}/\n" for n in range(1, 61)),
    "virtual": "postmaster@example.com user1@example.com\n",
    "transport": "example.org discard:\n",
    "header_checks": "/^Subject: forbidden/ REJECT content not wanted here\n",
    "postscreen_access.cidr": "192.0.2.240/29 permit\n198.51.100.248/29 reject\n",
    "aliases": "",
}
HOSTS = f"127.0.0.1 localhost\n::1 localhost\n{SERVICES} services\n"
RESOLV_CONF = f"nameserver {SERVICES}\noptions timeout:2 attempts:2\n"

PUBLIC_ADDRESSES = {4: "203.0.113.25", 6: PUBLIC_V6}
TOPOLOGY = (
    "clients 192.0.2.0/24, 198.51.100.0/24, 2001:db8:c::/48 -> HAProxy edge1, public 203.0.113.25, "
    f"inside {BALANCER} -> Postfix " + ", ".join(f"{host} {address}" for host, address in SERVERS.items())
)
