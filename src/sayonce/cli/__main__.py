"""`python -m sayonce.cli` is `sayonce`."""

from sayonce.cli import main

if __name__ == "__main__":
    main()
