"""`python -m logscope` is the command `logscope`."""

import sys

from logscope.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
