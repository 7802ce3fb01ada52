"""``python -m dotbias`` is the command line."""

from dotbias.cli.main import run

if __name__ == "__main__":
    run()
