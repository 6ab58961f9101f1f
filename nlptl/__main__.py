"""``python -m nlptl`` is ``nlptl``."""

from nlptl.cli.main import main

if __name__ == "__main__":
    main()
