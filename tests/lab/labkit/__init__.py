"""The lab: ostree hosts in virtual machines. `tests/lab/lab --help` is the way in."""
