"""What stands around messages: dates and clocks (the envelopes themselves are `grammars/syslog.toml`)."""
