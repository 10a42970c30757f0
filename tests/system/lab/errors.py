# SPDX-License-Identifier: BSD-3-Clause
"""The two ways in which the lab fails."""


class LabError(Exception):
    """Something that should have worked did not; the message says what and shows its output."""


class Unavailable(Exception):
    """This machine cannot run that; the message is the reason a test gives for its skip."""
