"""Private PostgreSQL servers: a folder and a port of their own, stopped at the end."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

#: In CI nothing is skipped that Debian or PyPI can install.
MUST = bool(os.environ.get("NO_SKIPPED_SERVERS"))
PROGRAMS = Path("/usr/lib/postgresql/15/bin")
TIMESCALEDB = Path("/usr/lib/postgresql/15/lib/timescaledb.so")
WITHOUT = "needs PostgreSQL 15 (Debian: apt-get install postgresql-15)"
WITHOUT_TIMESCALEDB = "needs TimescaleDB for PostgreSQL 15, which no package registry has"
PGBOUNCER = Path("/usr/sbin/pgbouncer")
WITHOUT_PGBOUNCER = "needs PgBouncer (Debian: apt-get install pgbouncer)"
OWNER = "owner"
PASSWORD = "hunter2:@/"  # noqa: S105 - of a server that lives for a test


_AS_POSTGRES = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


#: No answer may depend on the defaults of a server.
UNUSUAL = {
    "datestyle": "German",
    "intervalstyle": "iso_8601",
    "timezone": "Asia/Kathmandu",
    "bytea_output": "escape",
    "extra_float_digits": -15,
    "standard_conforming_strings": "off",
    "escape_string_warning": "off",
    "default_transaction_isolation": "serializable",
}


class Server:
    """A PostgreSQL server. ``folder``: where its data lie, a new one unless it is given.

    Its databases sort texts as English does, which ours must not care about. Connections need no
    password, but those of the role ``secretive``.
    """

    def __init__(self, *, folder: Path | None = None, **options: object) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="pg-", dir=folder))
        self._as = _AS_POSTGRES
        if self._as:
            shutil.chown(self.folder, "postgres")
        self.port = _free_port()
        self._data = self.folder / "data"
        icu = ("--locale-provider=icu", "--icu-locale=en-US", "--locale=C.UTF-8")
        self._run("initdb", "-D", self._data, "-U", OWNER, "-A", "trust", "-E", "UTF8", *icu)
        access = "host all secretive 127.0.0.1/32 scram-sha-256\n"
        rules = self._data / "pg_hba.conf"
        rules.write_text(access + rules.read_text())
        self._options = {"fsync": "off", "max_connections": 60, **options}
        self.start()

    def start(self) -> None:
        given = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": self.folder,
            **self._options,
        }
        words = " ".join(f"-c {name}='{value}'" for name, value in given.items())
        self._run("pg_ctl", "-D", self._data, "-w", "-l", self.folder / "log", "-o", words, "start")

    def stop(self, mode: str = "fast") -> None:
        self._run("pg_ctl", "-D", self._data, "-w", "-m", mode, "stop")

    def remove(self) -> None:
        if (self._data / "postmaster.pid").exists():
            self.stop("immediate")
        shutil.rmtree(self.folder, ignore_errors=True)

    def uri(self, database: str = "postgres", user: str = OWNER) -> str:
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def execute(self, *statements: str, database: str = "postgres") -> list[tuple]:
        """Run each in a transaction of its own; returns the rows of the last one."""
        with psycopg.connect(self.uri(database), autocommit=True) as connection:
            for sql in statements:
                cursor = connection.execute(sql)
            return cursor.fetchall() if cursor.description else []

    def make_unusual(self, name: str) -> None:
        """Give a database the defaults of `UNUSUAL`."""
        self.execute(*(f"ALTER DATABASE {name} SET {key} = '{UNUSUAL[key]}'" for key in UNUSUAL))

    def make(self, name: str, template: str = "template1") -> str:
        """A new database; returns its URI."""
        for _ in range(3000):  # whoever was connected to the template goes in a moment
            try:
                self.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
                return self.uri(name)
            except psycopg.errors.ObjectInUse:
                time.sleep(0.1)
        raise AssertionError(f"{template} stays in use")

    def _run(self, program: str, *args: object) -> None:
        subprocess.run(
            [*self._as, str(PROGRAMS / program), *map(str, args)],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
        )


@contextmanager
def pooler(server: Server) -> Iterator[Callable[[str], str]]:
    """PgBouncer with one session of ``server`` for all; gives the URI of a database through it."""
    folder, port = Path(tempfile.mkdtemp(prefix="pgbouncer-")), _free_port()
    (folder / "users").write_text(f'"{OWNER}" ""\n')
    settings = {
        "listen_addr": "127.0.0.1",
        "listen_port": port,
        "unix_socket_dir": "",
        "auth_type": "trust",
        "auth_file": folder / "users",
        "pool_mode": "transaction",
        "default_pool_size": 1,
        "ignore_startup_parameters": "extra_float_digits",
    }
    words = [f"[databases]\n* = host=127.0.0.1 port={server.port}\n[pgbouncer]"]
    words += [f"{name} = {value}" for name, value in settings.items()]
    (folder / "ini").write_text("\n".join(words))
    for path in (folder, *folder.iterdir()):
        if _AS_POSTGRES:
            shutil.chown(path, "postgres")
    process = subprocess.Popen(
        [*_AS_POSTGRES, PGBOUNCER, "-q", folder / "ini"], stderr=subprocess.DEVNULL
    )
    try:
        for _ in range(300):
            with socket.socket() as attempt:
                if attempt.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield lambda database: f"postgresql://{OWNER}@127.0.0.1:{port}/{database}"
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(folder)
