"""The one exception for what the outside world gets wrong: files, flags, devices. Main functions print it and exit with 1."""


class InputError(Exception):
    pass
