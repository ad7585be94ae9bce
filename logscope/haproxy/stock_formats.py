"""The formats that HAProxy has names for (configuration manual, 8.2 and 2.3)."""

from __future__ import annotations

TCPLOG = "%ci:%cp [%t] %ft %b/%s %Tw/%Tc/%Tt %B %ts %ac/%fc/%bc/%sc/%rc %sq/%bq"
HTTPLOG = (
    "%ci:%cp [%tr] %ft %b/%s %TR/%Tw/%Tc/%Tr/%Ta %ST %B %CC %CS %tsc "
    "%ac/%fc/%bc/%sc/%rc %sq/%bq %hr %hs %{+Q}r"
)
HTTPSLOG = (
    f"{HTTPLOG} %[fc_err]/%[ssl_fc_err,hex]/%[ssl_c_err]/%[ssl_c_ca_err]/%[ssl_fc_is_resumed] "
    "%[ssl_fc_sni]/%sslv/%sslc"
)
ENVIRONMENT = {
    "HAPROXY_TCP_LOG_FMT": TCPLOG,
    "HAPROXY_HTTP_LOG_FMT": HTTPLOG,
    "HAPROXY_HTTPS_LOG_FMT": HTTPSLOG,
    "HAPROXY_TCP_CLF_LOG_FMT": (
        '%{+Q}o %{-Q}ci - - [%T] "TCP " 000 %B "" "" %cp %ms %ft %b %s %Th %Tw %Tc %Tt %U %ts-- '
        '%ac %fc %bc %sc %rc %sq %bq "" "" '
    ),
    "HAPROXY_HTTP_CLF_LOG_FMT": (
        '%{+Q}o %{-Q}ci - - [%trg] %r %ST %B "" "" %cp %ms %ft %b %s %TR %Tw %Tc %Tr %Ta %tsc '
        "%ac %fc %bc %sc %rc %sq %bq %CC %CS %hrl %hsl"
    ),
}
"""Formats that HAProxy offers to a configuration file as environment variables (section 2.3 of the
manual)."""
