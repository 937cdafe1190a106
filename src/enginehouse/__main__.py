"""`python -m enginehouse` is the `enginehouse` command."""

from enginehouse.cli import main

if __name__ == "__main__":
    main()
