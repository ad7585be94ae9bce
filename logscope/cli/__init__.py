"""The command line: options in, one library call, one output, one exit code.

Nothing heavy is imported before a command needs it, so that `logscope --help` answers at once; a test watches
that.
"""
