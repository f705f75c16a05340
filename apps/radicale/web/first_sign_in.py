"""Radicale accounts in an htpasswd file; the first sign-in ever makes the owner's account.

A fresh server has no accounts and holds no data. Whoever signs in first chooses name and password;
from then on only the names in the file may sign in.
"""

import os
import re
import threading

import bcrypt
from radicale import logger
from radicale.auth import htpasswd

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
PASSWORD_LEN_MIN = 8
# bcrypt ignores what comes after.
PASSWORD_BYTES_MAX = 72


class Auth(htpasswd.Auth):
    """Checks passwords as Radicale's htpasswd module does, once there is an account."""

    def __init__(self, configuration):
        path = configuration.get("auth", "htpasswd_filename")
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
        super().__init__(configuration)
        self._claim = threading.Lock()

    def _login(self, login, password):
        with self._claim:
            if os.stat(self._filename).st_size == 0 and not self._make_account(login, password):
                return ""
        return super()._login(login, password)

    def _make_account(self, login, password):
        if not NAME.fullmatch(login):
            logger.warning("first sign-in refused: a name is 1 to 64 letters, digits and . _ @ -")
            return False
        if len(password) < PASSWORD_LEN_MIN or len(password.encode()) > PASSWORD_BYTES_MAX:
            logger.warning("first sign-in refused: a password has %d to %d characters",
                           PASSWORD_LEN_MIN, PASSWORD_BYTES_MAX)
            return False
        line = b"%s:%s\n" % (login.encode(), bcrypt.hashpw(password.encode(), bcrypt.gensalt()))
        part = self._filename + ".part"
        with open(part, "wb", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, self._filename)
        logger.warning("the owner's account is %r; nobody else can make one", login)
        return True
