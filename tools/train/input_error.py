"""The one exception for what the outside world gets wrong: files, flags, devices. Main functions print it and exit with 1."""


import os
import sys


class InputError(Exception):
    pass


def run(main):
    """Ends the program with what main returns, or with the error and the script's name."""
    try:
        sys.exit(main())
    except InputError as error:
        sys.exit(f"{os.path.basename(sys.argv[0])}: {error}")
