"""`python -m streamflow`: the command line.

Above: the user. Below: `cli`.
"""

import sys

from .cli import main

__all__: list[str] = []

if __name__ == "__main__":
    sys.exit(main())
