"""`python -m sayonce.cli` is `sayonce`."""

from sayonce.cli import main

main()
