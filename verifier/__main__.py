"""`python -m verifier` is the command line."""

from verifier.cli.main import main

if __name__ == "__main__":
    main(prog_name="verifier")
