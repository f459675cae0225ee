"""The command line: `streamflow`, or `python -m streamflow`.

Above: the user. Below: everything else.
"""

from ._main import main

__all__ = ["main"]
