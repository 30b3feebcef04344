"""The handler of the iban-check example: accepts a right IBAN, and fails for good at a wrong one."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from stdnum import iban
from stdnum.exceptions import ValidationError

from hammerwork import JobFailedError

if TYPE_CHECKING:
    from hammerwork import Job

log = logging.getLogger("iban_check")


class WrongIbanError(JobFailedError):
    """The IBAN cannot be right, however often it is looked at."""


def check(job: Job) -> None:
    """Check form, length, check digits and the country's own rules of the payload's `iban`."""
    supplier, text = job.payload["supplier"], job.payload["iban"]
    try:
        number = iban.validate(text)
    except ValidationError as error:
        raise WrongIbanError(f"{supplier}: {text}: {error}") from error
    log.info("%s: %s", supplier, iban.format(number))
