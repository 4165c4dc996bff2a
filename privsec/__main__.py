"""`python -m privsec` is the command `privsec`."""

from privsec.cli import main

if __name__ == "__main__":
    main()
