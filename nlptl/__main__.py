"""``python -m nlptl`` is ``nlptl``."""

from nlptl.cli import main

if __name__ == "__main__":
    main()
