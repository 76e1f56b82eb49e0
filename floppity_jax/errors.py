"""Exceptions that name the argument, its value, the rule it broke and the way out."""

from collections.abc import Mapping, Sequence


class FloppityError(Exception):
    """Base of every error that this package raises on purpose."""


class InvalidInput(FloppityError, ValueError):
    """An argument breaks a rule.

    Parameters
    ----------
    argument : str
        Name of the argument, as the user wrote it.
    value : object
        What was given; shown with ``repr`` and cut to 200 characters.
    rule : str
        What is asked of it: a clause that completes "<argument> ...".
    remedy : str
        What to do about it: a full sentence.
    """

    def __init__(self, argument: str, value: object, rule: str, remedy: str) -> None:
        shown = repr(value)
        if len(shown) > 200:
            shown = shown[:197] + "..."
        super().__init__(f"{argument} = {shown}: {argument} {rule}. {remedy}")
        self.argument, self.value = argument, value
        self.rule, self.remedy = rule, remedy


class InvalidFile(FloppityError, ValueError):
    """An input file breaks rules; the message lists all that were found.

    Attributes
    ----------
    problems : tuple of FloppityError
        One for each.
    """

    def __init__(self, file: str, problems: Sequence[FloppityError]) -> None:
        found = "a problem" if len(problems) == 1 else f"{len(problems)} problems"
        listed = (f"\n  {number}. {problem}" for number, problem in enumerate(problems, start=1))
        super().__init__(f"{file} has {found}; nothing has been simulated.{''.join(listed)}")
        self.problems = tuple(problems)


def check_whole(argument: str, value: object, least: int, remedy: str) -> None:
    """Refuse what is no whole number of at least ``least``."""
    if not isinstance(value, int) or value < least:
        raise InvalidInput(argument, value, f"must be a whole number of at least {least}", remedy)


def require_positive(section: str, numbers: Mapping[str, float]) -> None:
    """Refuse a configuration in which a number is not above 0.

    Parameters
    ----------
    section
        Name of the configuration, put before that of the number.
    numbers
        By name.

    Raises
    ------
    InvalidInput
        For the first that is not.
    """
    for name, value in numbers.items():
        if not value > 0:
            raise InvalidInput(
                f"{section}.{name}", value, "must be above 0", "Leave it out for the default."
            )


class SimulatorError(FloppityError, RuntimeError):
    """The simulator returned something unusable, or failed too often."""


class RunDirectoryError(FloppityError, OSError):
    """A run directory is in the way, damaged, or holds another run."""


class NoLikelihoodError(FloppityError, TypeError):
    """Something that needs a likelihood was asked of an observation without errors."""
