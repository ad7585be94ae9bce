"""`python -m logscope` is the command `logscope`."""

from logscope.cli.main import process

if __name__ == "__main__":
    process()
