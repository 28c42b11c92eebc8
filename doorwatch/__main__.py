"""`python -m doorwatch`."""

from doorwatch.main import main

main()
