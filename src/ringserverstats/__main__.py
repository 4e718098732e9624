"""``python -m ringserverstats``."""

from ringserverstats.cli import main

main()
