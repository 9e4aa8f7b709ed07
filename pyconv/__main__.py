"""``python -m pyconv`` is the command ``pyconv``."""

from .cli import main

if __name__ == "__main__":
    main()
