"""Keep the token of an address out of the log: tornado writes the address of what it refuses."""

import logging
import re

TOKEN = re.compile(r"([?&]token=)[^&\s'\"]+")


def without_token(record: logging.LogRecord) -> bool:
    record.msg, record.args = TOKEN.sub(r"\1[secret]", record.getMessage()), ()
    return True


for name in ("access", "application", "general"):
    logging.getLogger(f"tornado.{name}").addFilter(without_token)
