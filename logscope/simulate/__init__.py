"""A site's sessions in simulated time: as tables, or as lines of its daemons, and the truth.

    from logscope.simulate import Fault, Options, Simulation, labels, tables

    options = Options(sessions=200_000, duration_s=7 * 86400, seed=7, unrest=0.1, faults=(
        Fault("surge", start_s=2 * 86400, duration_s=600, size=2.0),
        Fault("server_rejects", start_s=4 * 86400, duration_s=900, size=0.1, server=1),
    ))
    simulation = Simulation(options)
    week = tables(simulation, ("sessions", "messages", "deliveries"))    # name → pyarrow.Table
    truth = labels(options)                                              # one mapping for each fault

The same options give the same sessions, whatever is made of them. The session table has the columns of
`logscope.schema` but `events`, and behind them the truth that no reader knows: see `tables`. What can go
wrong is listed in `faults.KINDS`, hard negatives among it. For many weeks, or large ones, take the blocks as
they come, with the columns that are needed:

    for block in simulation.blocks():
        batch = Tables(simulation, block).sessions(["accepted_at", "server", "outcome"])
"""

from logscope.simulate.faults import KINDS, Fault, parse_fault
from logscope.simulate.plan import labels
from logscope.simulate.simulation import Block, Simulation
from logscope.simulate.site import Host, Options, balancers, servers
from logscope.simulate.tables import Tables, tables

__all__ = [
    "KINDS",
    "Block",
    "Fault",
    "Host",
    "Options",
    "Simulation",
    "Tables",
    "balancers",
    "labels",
    "parse_fault",
    "servers",
    "tables",
]
