"""Which files in folders, patterns and requests are read as logs, and of which server."""

import os
import shutil
from pathlib import Path

import pytest
from conftest import DATA, SECRET, CommandLine, read_into
from model import block
from service import add_token, bearer, client_of, settings_of

from ringserverstats.errors import UsageError
from ringserverstats.logs.names import check_server_name
from ringserverstats.logs.source import find
from ringserverstats.store.base import Store

LOG = DATA / "v2020.075-text" / "node-a-txlog-20261124T00:00-20261125T00:00"
NAME = LOG.name
#: What rsync, Syncthing, macOS, editors and browsers name a file that they are writing.
TEMPORARY = (
    f".{NAME}.a1B2c3",
    f".syncthing.{NAME}.tmp",
    f"._{NAME}",
    f".{NAME}.swp",
    *(f"{NAME}{end}" for end in (".tmp", ".part", ".partial", ".filepart", ".swp")),
)
#: What is left of a log that was rotated, edited or copied: its entries count once.
COPIES = (f"{NAME}.1", f"{NAME}~", f"{NAME} (copy)")


@pytest.fixture(autouse=True)
def _secret(run: CommandLine) -> None:
    run.environment["RINGSERVERSTATS_SECRET"] = SECRET.hex()


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    folder = tmp_path / "logs"
    folder.mkdir()
    for name in (NAME, *TEMPORARY, *COPIES):
        shutil.copy(LOG, folder / name)
    return folder


def test_hidden_and_temporary_files_are_no_logs(run: CommandLine, logs: Path) -> None:
    done = run("ingest", logs, "--strict")
    assert done.returncode == 0, done.stderr
    assert f"temporary files {len(TEMPORARY)} hidden" in " ".join(done.stdout.split())
    assert {server.name for server in run.store.servers()} == {"node-a"}
    once = run.store.ask("SELECT count(*) AS n FROM entry_ledger")["n"][0].as_py()
    assert read_into(run.store, LOG).known == once
    found = find([str(logs)])
    assert len(found.sources) == 1 + len(COPIES)
    assert found.temporary_files == len(TEMPORARY)


def test_only_regular_files_of_a_folder_are_read(run: CommandLine, tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    (folder / "linked").symlink_to(".")
    (folder / "txlog-20261124T0000-20261125T0000").symlink_to(LOG)
    os.mkfifo(folder / "txlog-20261125T0000-20261126T0000")
    (folder / "txlog-20261126T0000-20261127T0000").symlink_to("/dev/zero")
    done = run("ingest", folder)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("not a regular file") == 2
    assert run.store.ask("SELECT count(*) AS n FROM entry_ledger")["n"][0].as_py() > 0
    run("server", "add", "b", "--path", f"{folder}/*")
    assert run("ingest", "--as", "b").stderr.count("not a regular file") == 2
    assert run("ingest", folder, "--strict").returncode == 1


def test_a_fifo_is_read_where_it_is_named(run: CommandLine, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    if not os.fork():
        fifo.write_bytes(LOG.read_bytes())
        os._exit(0)
    assert run("ingest", "--as", "a", "--name", NAME, fifo).returncode == 0
    os.wait()
    assert run.store.ask("SELECT count(*) AS n FROM entry_ledger")["n"][0].as_py() > 0


BAD = (".node-a", "-a", "_a", "<script>", "nöde", "a b", "a" * 65, "")


@pytest.mark.parametrize("name", BAD)
def test_names_that_no_server_can_have(name: str) -> None:
    with pytest.raises(UsageError, match="begin with a letter or digit"):
        check_server_name(name)


def test_a_prefix_that_is_no_name_of_a_server_is_skipped(run: CommandLine, tmp_path: Path) -> None:
    log = tmp_path / f"<script>-{NAME.removeprefix('node-a-')}"
    shutil.copy(LOG, log)
    for path in (log, tmp_path):
        done = run("ingest", path, "--strict")
        assert done.returncode == 1
        assert "Name the server: --as NAME" in done.stderr
        assert run.store.servers() == []
    assert run("ingest", "--as", "a", log, "--strict").returncode == 0
    assert [server.name for server in run.store.servers()] == ["a"]
    run("server", "add", "b", "--path", f"{tmp_path}/<*")
    assert run("ingest", "--as", "b").returncode == 0
    assert (
        run.store.ask("SELECT count(DISTINCT server) AS n FROM entry_ledger")["n"][0].as_py() == 2
    )


def test_a_server_whose_name_exists_stays_usable(run: CommandLine) -> None:
    read_into(run.store, LOG, server=".old")
    assert run("ingest", "--as", ".old", LOG).returncode == 0
    assert run("ingest", "--as", ".new", LOG).returncode == 2
    assert run("server", "merge", ".old", "b", "--yes").returncode == 2  # there is no b
    run("server", "add", "b")
    assert run("server", "merge", ".old", "b", "--yes").returncode == 0


def test_a_prefix_that_an_existing_server_has_is_read(run: CommandLine, tmp_path: Path) -> None:
    read_into(run.store, LOG, server="_old one")
    shutil.copy(LOG, tmp_path / f"_old one-{NAME.removeprefix('node-a-')}")
    done = run("ingest", tmp_path, "--strict")
    assert done.returncode == 0, done.stderr
    assert [server.name for server in run.store.servers()] == ["_old one"]


def test_standard_input_is_read_once(run: CommandLine) -> None:
    done = run("ingest", "--as", "a", "-", "-", input=LOG.read_bytes())
    assert done.returncode == 0, done.stderr
    assert run.store.ask("SELECT count(*) AS n FROM entry_ledger")["n"][0].as_py() > 0


def test_a_file_at_the_paths_of_two_servers_counts_for_both(
    run: CommandLine, tmp_path: Path
) -> None:
    """And is reported: nothing says which of the paths is wrong."""
    shutil.copy(LOG, tmp_path / NAME)
    for server in ("a", "b"):
        run("server", "add", server, "--path", tmp_path)
    assert "also in the store under another server" in run("ingest").stderr
    assert len(run.store.ask("SELECT DISTINCT server FROM entry_ledger")) == 2


def test_servers_that_share_entries_are_listed(run: CommandLine) -> None:
    read_into(run.store, LOG, server="a")
    assert run("audit").stderr == ""
    count = read_into(run.store, LOG, server="b").entries
    done = run("audit")
    assert done.returncode == 0
    assert f"{count} entries count for server 'a' and for server 'b'" in done.stderr
    assert run("server", "merge", "b", "a", "--once", "--yes").returncode == 0
    assert run("audit").stderr == ""


def test_a_refused_post_creates_nothing(store: Store) -> None:
    token = bearer(add_token(store, "feeder", ingest=True))
    interval = "txlog-20261124T0000-20261125T0000"
    with client_of(settings_of(store)) as web:
        for query, body in (
            (f"name=%3Cscript%3E-{interval}", LOG.read_bytes()),
            ("server=.a", LOG.read_bytes()),
            (f"name=c-{interval}", b"no log\n"),
            (f"server=c&name={interval}", b"START CLIENT\nEND CLIENT\n"),
        ):
            refused = web.post(f"/?{query}", content=body, headers=token)
            assert refused.status_code == 400, query
            assert store.servers() == [], query
            assert store.ask("SELECT count(*) AS n FROM log_interval")["n"][0].as_py() == 0
        assert web.post(f"/?server=c&name={interval}", content=LOG.read_bytes(), headers=token)
        # A day on which nothing was sent is known, too.
        idle = block(transfers=())
        assert (
            web.post(f"/?server=d&name={interval}", content=idle, headers=token).status_code == 200
        )
    assert [server.name for server in store.servers()] == ["c", "d"]
