"""What a site's own configuration says about its logs: haproxy.cfg, main.cf and master.cf put side by side.

    site = settings.site            # frozen; empty where no configuration was named
    site = site.learn.learn(...)    # the same from names of files

Everything learnt is a value of `facts` with the file and line that says it (`place`, an `errors.Place`;
None where a daemon's built-in value holds):

    site.entrances                  `bind` lines: frontend, address, ports, accept-proxy, TLS
    site.targets                    `server` lines: backend, server, address, port, which PROXY header is sent
    site.listeners                  smtpd and postscreen services: tag, address, port, whether they expect one
    site.routes                     which target reaches which listener, header sent against header expected
    site.balancer_addresses         addresses the balancers connect from, and how each is known
    site.mail_servers               each Postfix: mynetworks (`trusts(address)`), domains, listeners
    site.domains                    mail domains that are ours
    site.log_options                log format of each frontend, dontlognull, logasap
    site.formats, site.grammars     the formats as templates, and as grammars for the catalogue
    site.notes                      what could not be worked out, for people
"""

from logscope.site.facts import (
    BalancerAddress,
    Domain,
    Entrance,
    Listener,
    LogOptions,
    MailServer,
    Network,
    Route,
    Site,
    Target,
)

__all__ = [
    "BalancerAddress",
    "Domain",
    "Entrance",
    "Listener",
    "LogOptions",
    "MailServer",
    "Network",
    "Route",
    "Site",
    "Target",
]
