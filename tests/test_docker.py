"""What the image and compose.yaml say, as far as it can be tried without docker.

`docker/try` builds the image and uses it.
"""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import httpx
import pytest
import yaml
from conftest import DATA, LONG, CommandLine, wait_for
from servers import OWNER, PROGRAMS, TIMESCALEDB, WITHOUT_TIMESCALEDB, Server
from service import free_port, served

from ringserverstats.cli import cli
from ringserverstats.settings import Settings

ROOT = Path(__file__).parents[1]
MANUAL = (ROOT / "docs" / "docker.md").read_text()
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
OURS = ("migrate", "service", "ingest")
LOG = DATA / "v4.5.3-text" / "txlog-20261124T0000-20261125T0000"


def _instructions() -> list[tuple[str, str]]:
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.M)
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    return [tuple(line.split(maxsplit=1)) for line in lines if line]


def _reported(word: str) -> list[str]:
    return [rest for found, rest in _instructions() if found == word]


def _accepts(words: list[str]) -> None:
    """The command line knows these words."""
    context = click.Context(cli)
    command = cli.get_command(context, words[0])
    assert command is not None, words
    for parameter in command.params:
        if isinstance(parameter.type, click.Path):
            parameter.type.exists = False
    command.make_context(words[0], words[1:])


def test_image_runs_as_a_user_and_serves_by_itself() -> None:
    assert _reported("USER") == ["10001:10001"]
    assert _reported("VOLUME") == ["/data"]
    assert _reported("EXPOSE") == ["8000"]
    assert json.loads(_reported("ENTRYPOINT")[0]) == ["ringserverstats"]
    _accepts(json.loads(_reported("CMD")[0]))
    assert len(_reported("FROM")) == 2
    assert all("--no-cache-dir" in one for one in _reported("RUN") if "pip install" in one)


def test_image_keeps_its_state_in_the_volume() -> None:
    words = [word for rest in _reported("ENV") for word in shlex.split(rest)]
    result = dict(word.split("=", 1) for word in words)
    assert Settings(database=result["DATABASE_URI"]).database_path.parent == Path("/data")
    assert result["RINGSERVERSTATS_CONFIG_FOLDER"] == "/data/config"
    assert f"`{result['DATABASE_URI']}`" in MANUAL


def test_what_is_copied_is_there_and_what_is_not_is_kept_out() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    let_in = {line[1:] for line in lines if line.startswith("!")}
    assert "*" in lines
    copied = set()
    for rest in _reported("COPY"):
        if "--from=" not in rest:
            copied |= {word for word in rest.split()[:-1] if not word.startswith("--")}
    assert copied == let_in
    assert all((ROOT / path).exists() for path in copied)


def test_health_is_checked_without_curl(run: CommandLine, tmp_path: Path) -> None:
    options, _, command = _reported("HEALTHCHECK")[0].partition("CMD ")
    assert "--start-period" in options
    program, *words = json.loads(command)
    assert program == "python"

    def check(port: object) -> int:
        result = [word.replace("8000", str(port)) for word in words]
        return subprocess.run([sys.executable, *result], stderr=subprocess.DEVNULL).returncode

    with served(run, folder=tmp_path) as url:
        assert check(httpx.URL(url).port) == 0
    assert check(free_port()) != 0


def _locked(name: str) -> dict[str, str]:
    return dict(re.findall(r"^([\w.-]+)==(\S+)", (ROOT / name).read_text(), re.M))


def test_image_has_what_was_tested() -> None:
    tested = _locked("requirements-dev.lock")
    inside = _locked("requirements.lock")
    assert {name: tested.get(name) for name in inside} == inside
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["web"], *extras["eida"], *extras["geoip"]]
    names = {re.match(r"[\w.-]+", one)[0] for one in wanted}
    assert names <= set(inside) | set(_locked("requirements-geoip.lock"))


@pytest.mark.parametrize("name", OURS)
def test_containers_of_ours_may_nothing_that_they_need_not(name: str) -> None:
    one = COMPOSE["services"][name]
    assert one["read_only"] is True
    assert one["tmpfs"] == ["/tmp"]  # noqa: S108 - of the container
    assert one["cap_drop"] == ["ALL"]
    assert one["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "user", "cap_add", "network_mode"} & set(one)
    assert "config:/data" in one["volumes"]


def test_tables_are_there_before_others_start() -> None:
    services = COMPOSE["services"]
    assert services["migrate"]["depends_on"] == {"database": {"condition": "service_healthy"}}
    done = {"migrate": {"condition": "service_completed_successfully"}}
    assert all(services[name]["depends_on"] == done for name in ("service", "ingest", "grafana"))
    _accepts(services["migrate"]["command"])
    _accepts(services["ingest"]["command"][1:])


def test_nothing_of_compose_is_open_to_all_by_default() -> None:
    services = COMPOSE["services"]
    assert set(services) == {"database", "grafana", *OURS}
    assert all("no-new-privileges:true" in one["security_opt"] for one in services.values())
    ports = [port for one in services.values() for port in one.get("ports", [])]
    assert ports == ["${LISTEN:-127.0.0.1}:8000:8000", "${LISTEN:-127.0.0.1}:3000:3000"]
    assert "RINGSERVERSTATS_OPEN_INGEST" not in json.dumps(services)


def test_there_are_no_passwords_but_given_ones() -> None:
    seen = 0
    for one in COMPOSE["services"].values():
        for name, value in one.get("environment", {}).items():
            if "PASSWORD" in name:
                assert re.fullmatch(r"\$\{[A-Z_]+:\?[^}]+\}", value), name
                seen += 1
            assert not re.search(r"://[^/]*:[^/]*@", value)
    assert seen == 8


def test_variables_of_compose_are_in_the_manual() -> None:
    text = (ROOT / "compose.yaml").read_text()
    used = dict(re.findall(r"\$\{([A-Z_]+):?[-?]([^}]*)\}", text))
    documented = dict(re.findall(r"^\| `([A-Z_]+)` \| ([^|]*) \|", MANUAL, re.M))
    assert set(documented) == set(used)
    for name in used:
        is_needed = f"${{{name}:?" in text
        default = f"`{used[name]}`" if used[name] else "none"
        assert documented[name].startswith("required" if is_needed else default)


def test_settings_in_compose_and_manual_are_settings() -> None:
    text = (ROOT / "compose.yaml").read_text() + MANUAL
    for name in set(re.findall(r"RINGSERVERSTATS_([A-Z_]+)", text)):
        assert name.lower() in Settings.__struct_fields__


def test_volumes_and_files_of_compose_are_there() -> None:
    for one in COMPOSE["services"].values():
        for volume in one.get("volumes", []):
            place = volume.rsplit(":", 2)[0] if volume.endswith(":ro") else volume.split(":")[0]
            if place.startswith("./"):
                assert (ROOT / place).exists()
            elif not place.startswith("$"):
                assert place in COMPOSE["volumes"]


def test_grafana_reads_as_the_reader() -> None:
    folder = ROOT / "grafana" / "provisioning" / "datasources"
    (source,) = yaml.safe_load((folder / "ringserverstats.yaml").read_text())["datasources"]
    database = COMPOSE["services"]["database"]["environment"]
    assert source["url"] == "database:5432"
    assert source["user"] == "ringserverstats_reader"
    assert source["jsonData"]["database"] == database["POSTGRES_DB"]
    assert source["secureJsonData"] == {"password": "$READER_PASSWORD"}
    assert "READER_PASSWORD" in COMPOSE["services"]["grafana"]["environment"]


def test_service_of_compose_believes_the_proxy(run: CommandLine, tmp_path: Path) -> None:
    one = COMPOSE["services"]["service"]
    words = [word.replace("8000", "{port}") for word in one["command"]]
    programs = Path(sys.executable).parent
    with served(run, str(programs / one["entrypoint"][0]), *words, folder=tmp_path) as url:
        forwarded = {"Host": "statistics.example", "X-Forwarded-Proto": "https"}
        page = httpx.get(f"{url}/docs", headers=forwarded, timeout=LONG).text
        assert "https://statistics.example/" in page
        # Whatever such a header says, what came through a proxy does not come from here.
        claimed = {"X-Forwarded-For": "127.0.0.1"}
        assert (
            httpx.post(url, headers=claimed, content=LOG.read_bytes(), timeout=LONG).status_code
            == 401
        )
    assert "GET" not in (tmp_path / "service.log").read_text()


@pytest.mark.parametrize("command", ["echo result >> {}; exit 3", "echo result >> {}"])
def test_every_goes_on(tmp_path: Path, command: str) -> None:
    result = tmp_path / "result"
    words = [ROOT / "docker" / "every", "0.1", "sh", "-c", command.format(result)]
    running = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: result.exists() and len(result.read_text().split()) >= 3)
    running.terminate()
    _, errors = running.communicate(timeout=LONG)
    assert running.returncode == 0
    assert ("failed with exit code 3" in errors) == ("exit 3" in command)


@pytest.mark.parametrize("command", ["sleep 3600", "true"])  # while it runs, and while it waits
def test_every_stops_soon_and_with_it_what_it_runs(command: str) -> None:
    words = [ROOT / "docker" / "every", "3600", *command.split()]
    running = subprocess.Popen(words, start_new_session=True)
    children = Path(f"/proc/{running.pid}/task/{running.pid}/children")
    wait_for(
        lambda: any(
            Path(f"/proc/{child}/comm").read_text() == "sleep\n"
            for child in children.read_text().split()
            if Path(f"/proc/{child}").exists()
        )
    )
    running.send_signal(signal.SIGTERM)
    assert running.wait(LONG) == 0
    with pytest.raises(ProcessLookupError):
        os.killpg(running.pid, 0)


PASSWORDS = {"SERVICE_PASSWORD": "it's: @/a $word", "READER_PASSWORD": 'quoted "\\"'}


@pytest.fixture(scope="module")
def database() -> Iterator[Server]:
    """A server as the image of PostgreSQL makes it, which asks for passwords."""
    if not TIMESCALEDB.exists():
        pytest.skip(WITHOUT_TIMESCALEDB)
    made = Server(shared_preload_libraries="timescaledb", max_worker_processes=20)
    try:
        made.execute(
            "CREATE ROLE ringserverstats_owner SUPERUSER LOGIN PASSWORD 'own'",
            "CREATE DATABASE ringserverstats OWNER ringserverstats_owner",
        )
        result = {"POSTGRES_USER": "ringserverstats_owner", "POSTGRES_DB": "ringserverstats"}
        where = {"PGHOST": "127.0.0.1", "PGPORT": str(made.port)}
        path = f"{PROGRAMS}:{os.environ['PATH']}"
        given = {**PASSWORDS, **result, **where, "PATH": path}
        subprocess.run([ROOT / "docker" / "roles.sh"], env=given, check=True)
        rules = made.folder / "data" / "pg_hba.conf"
        rules.write_text(
            f"host all {OWNER} 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n"
        )
        made.execute("SELECT pg_reload_conf()")
        yield made
    finally:
        made.remove()


@pytest.mark.soak
def test_roles_of_compose_may_what_they_need(database: Server, tmp_path: Path) -> None:
    """Each command as the role that runs it there, with a password from the environment."""
    services = COMPOSE["services"]
    secrets = {**PASSWORDS, "POSTGRES_PASSWORD": "own"}

    def of(name: str) -> CommandLine:
        result: dict[str, Any] = services[name]["environment"]
        uri = result["DATABASE_URI"].replace("@database/", f"@127.0.0.1:{database.port}/")
        variable = re.match(r"\$\{(\w+)", result["PGPASSWORD"])[1]
        return CommandLine(tmp_path, {"DATABASE_URI": uri, "PGPASSWORD": secrets[variable]})

    def done(name: str, *words: object) -> str:
        found = of(name)(*words)
        assert found.returncode == 0, found.stderr
        return found.stdout

    refused = of("migrate")
    refused.environment["PGPASSWORD"] = "wrong"
    wait_for(lambda: "password" in refused("info").stderr)  # when the server has read its rules
    assert refused("migrate").returncode != 0
    done("migrate", *services["migrate"]["command"])
    token = done("migrate", "token", "add", "node-a", "--ingest").strip()
    done("ingest", *services["ingest"]["command"][1:-1], LOG)
    assert re.search(r"timescaledb +\d", done("migrate", "info"))
    with served(of("service"), folder=tmp_path) as url:
        assert httpx.get(f"{url}/readyz", timeout=LONG).status_code == 200
        sent = {"Authorization": f"Bearer {token}"}
        log = LOG.with_name(LOG.name.replace("tx", "rx")).read_bytes()
        assert httpx.post(url, headers=sent, content=log, timeout=LONG).status_code == 201
        for path in ("/", "/charts/activity.svg", "/api/v1/stats?by=network", "/metrics"):
            assert httpx.get(url + path, timeout=LONG).status_code == 200, path
    reader = of("service")
    reader.environment["DATABASE_URI"] = reader.environment["DATABASE_URI"].replace(
        "_service@", "_reader@"
    )
    reader.environment["PGPASSWORD"] = PASSWORDS["READER_PASSWORD"]
    assert "FR" in reader("stats", "--by", "network").stdout
    assert reader("ingest", LOG).returncode != 0
