"""Write 61 days of usage logs as three ringservers of a small observatory would.

``node-a`` is a v4 server that writes text once a day, ``node-b`` one that writes JSON Lines, first
once a day and then every hour, ``node-c`` an old release. About 100 clients all over the world read
from them: a few take nearly everything, most a handful of stations, and people more on working
days. As in life, some logs are lost: a day of one server, hours of another, the end of a block.
The same seed gives the same bytes.
"""

import argparse
import json
import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

FIRST_DAY = datetime(2026, 9, 1)
DAYS = 61
HOURLY_FROM = 55  # the day from which node-b writes a log every hour
ZONE = ZoneInfo("Europe/Paris")
SEED = 20260901

# Network: stations, share of the clients that want it, packets of a stream and day.
NETWORKS = {
    "FR": (24, 1.0, 21_000),
    "G": (12, 0.8, 16_000),
    "RA": (10, 0.3, 24_000),
    "WI": (6, 0.35, 15_000),
    "MT": (5, 0.15, 18_000),
    "XP": (8, 0.12, 20_000),  # temporary networks
    "Z3": (6, 0.1, 17_000),
    "1T": (4, 0.06, 14_000),
}
CHANNELS = ("HHZ", "HHN", "HHE", "LHZ")

# Where clients are: first bytes of addresses, top-level domain, how many.
PLACES = (
    ("129.88", "fr", 17),
    ("130.79", "fr", 10),
    ("141.14", "de", 11),
    ("139.17", "de", 5),
    ("193.206", "it", 9),
    ("128.95", "edu", 10),
    ("137.227", "gov", 5),
    ("130.54", "jp", 5),
    ("129.132", "ch", 4),
    ("194.177", "gr", 4),
    ("146.83", "cl", 4),
    ("132.248", "mx", 3),
    ("131.172", "au", 3),
    ("146.141", "za", 2),
    ("163.13", "tw", 3),
    ("2001:660:5001", "fr", 3),
    ("2a00:1398:9", "de", 3),
)
AGENTS = (
    ("SeedLink", "slarchive/4.3", 6),
    ("SeedLink", "Client", 9),
    ("SeedLink", "SeisComP/6.5.1 (chain_plugin)", 8),
    ("SeedLink", "ObsPy 1.5.1", 5),
    ("DataLink", "dlarchive:sysop:2231:Linux-6.1", 2),
    ("DataLink", "slink2dl:export", 2),
    ("HTTP", "Mozilla/5.0 (X11; Linux x86_64)", 1),
    ("HTTP", "curl/8.5.0", 1),
)


@dataclass(frozen=True)
class Client:
    """One reader: who, with what, which streams, and how it behaves."""

    server: str
    address: str
    host: str
    protocol: str
    agent: str
    streams: tuple[tuple[str, str, int], ...]  # network_station, channel, packets a day
    steady: bool
    since: int


def clients(rng: random.Random) -> list[Client]:
    """Everybody who reads from the three servers."""
    stations = [
        (network, f"{network[0]}{number:02d}{'ABCD'[number % 4]}")
        for network, (count, _, _) in NETWORKS.items()
        for number in range(count)
    ]
    found = []
    for prefix, domain, count in PLACES:
        for number in range(count):
            own = [one for one in stations if rng.random() < NETWORKS[one[0]][1]]
            size = max(1, min(len(own), int(rng.paretovariate(0.75) * 2)))
            chosen = rng.sample(own, size) if own else stations[:1]
            channels = CHANNELS if rng.random() < 0.3 else CHANNELS[: rng.choice((1, 3))]
            protocol, agent, _ = rng.choices(AGENTS, [weight for *_, weight in AGENTS])[0]
            found.append(
                Client(
                    server=rng.choices(("node-a", "node-b", "node-c"), (6, 2, 2))[0],
                    address=_address(prefix, number, rng),
                    host=f"reader{number}.institute{number % 7}.example.{domain}",
                    protocol=protocol,
                    agent=agent,
                    streams=tuple(
                        (f"{network}_{station}", channel, NETWORKS[network][2])
                        for network, station in chosen
                        for channel in channels
                    ),
                    steady=rng.random() < 0.6,
                    since=rng.choice((0, 0, 0, rng.randrange(DAYS))),
                )
            )
    return found


def _address(prefix: str, number: int, rng: random.Random) -> str:
    if ":" in prefix:
        return f"{prefix}:{number:x}::{rng.randrange(1, 65_000):x}"
    return f"{prefix}.{rng.randrange(1, 250)}.{number + 1}"


def write(
    folder: Path, *, days: int = DAYS, seed: int = SEED, hourly_from: int = HOURLY_FROM
) -> int:
    """Write the logs into ``folder``; return the number of transfers."""
    rng = random.Random(seed)
    everyone = clients(rng)
    transfers = 0
    for server in ("node-a", "node-b", "node-c"):
        target = folder / server
        target.mkdir(parents=True, exist_ok=True)
        own = [client for client in everyone if client.server == server]
        connected = {client: _utc(FIRST_DAY) - timedelta(hours=7) for client in own}
        for day in range(days):
            today = FIRST_DAY + timedelta(days=day)
            hours = 1 if server == "node-b" and day >= hourly_from else 24
            plan = _present(own, day, today, rng)
            for hour in range(0, 24, hours):
                start = today + timedelta(hours=hour)
                blocks = []
                for client in plan:
                    if hours == 1 and not client.steady and not 7 <= hour < 19:
                        continue
                    blocks += _blocks(client, start, hours, connected, rng)
                transfers += sum(len(block["streams"]) for block in blocks)
                _write_file(target, server, "TX", start, hours, blocks)
            _write_file(target, server, "RX", today, 24, [_feed(today, day, rng)])
    _lose(folder)
    return transfers


def _lose(folder: Path) -> None:
    """What the observatory no longer has."""
    gone = ["node-c/node-c-?xlog-20261011T*"]
    gone += [f"node-b/node-b-txlog-20261028T{hour}*" for hour in range(13, 18)]
    for pattern in gone:
        for path in folder.glob(pattern):
            path.unlink()
    for path in folder.glob("node-a/node-a-txlog-20261015T*"):
        blocks = path.read_text().split("START CLIENT ")
        blocks[20] = blocks[20][:-70]
        path.write_text("START CLIENT ".join(blocks))


def _present(own: list[Client], day: int, today: datetime, rng: random.Random) -> list[Client]:
    weekend = today.weekday() >= 5
    return [
        client
        for client in own
        if client.since <= day and (client.steady or rng.random() < (0.15 if weekend else 0.6))
    ]


def _blocks(
    client: Client,
    start: datetime,
    hours: int,
    connected: dict[Client, datetime],
    rng: random.Random,
) -> list[dict]:
    """One block at the interval's end, and one more where the connection broke in between."""
    begin, end = _utc(start), _utc(start + timedelta(hours=hours))
    cuts = [end + timedelta(seconds=1)]
    if rng.random() < (0.2 if hours == 24 else 0.02):
        cuts.insert(0, begin + (end - begin) * rng.random())
    blocks = []
    for cut in cuts:
        counted_from = max(begin, connected[client])
        share = max((cut - counted_from).total_seconds(), 60) / 86_400
        streams = [
            (name, channel, max(1, int(packets * share * rng.uniform(0.9, 1.1))))
            for name, channel, packets in client.streams
        ]
        blocks.append(
            {
                "client": client,
                "time": cut,
                "from": counted_from,
                "connected": connected[client],
                "streams": streams,
            }
        )
        if cut is not cuts[-1]:
            connected[client] = cut + timedelta(seconds=rng.randrange(2, 40))
    return blocks


def _feed(today: datetime, day: int, rng: random.Random) -> dict:
    """What the observatory's own feeder wrote in a day; one station breaks down for a week."""
    feeder = Client("", "10.0.0.5", "feeder", "DataLink", "slink2dl:feeder", (), True, 0)
    streams = []
    for network, (count, _, packets) in NETWORKS.items():
        for number in range(count):
            if network == "RA" and number == 3 and 20 <= day < 27:
                continue
            station = f"{network[0]}{number:02d}{'ABCD'[number % 4]}"
            streams += [
                (f"{network}_{station}", channel, int(packets * rng.uniform(0.95, 1.0)))
                for channel in CHANNELS
            ]
    return {
        "client": feeder,
        "time": _utc(today + timedelta(days=1)),
        "from": _utc(today),
        "connected": _utc(FIRST_DAY) - timedelta(days=40),
        "streams": streams,
    }


def _utc(local: datetime) -> datetime:
    return local.replace(tzinfo=ZONE).astimezone(UTC)


def _write_file(
    folder: Path, server: str, direction: str, start: datetime, hours: int, blocks: list[dict]
) -> None:
    blocks = sorted(blocks, key=lambda block: block["time"])
    end = start + timedelta(hours=hours)
    clock = "%Y%m%dT%H:%M" if server == "node-c" else "%Y%m%dT%H%M"
    name = f"{server}-{direction.lower()}log-{start.strftime(clock)}-{end.strftime(clock)}"
    if server == "node-b":
        text = "".join(_json(block, direction) for block in blocks)
        name += ".jsonl"
    else:
        text = "".join(_text(block, direction, old=server == "node-c") for block in blocks)
    if text:
        (folder / name).write_text(text)


def _text(block: dict, direction: str, *, old: bool) -> str:
    client, streams = block["client"], block["streams"]
    clock = "%Y-%m-%d %H:%M:%S" if old else "%Y-%m-%dT%H:%M:%SZ"
    who = f"{client.host} [{client.address}]"
    lines = [
        f"START CLIENT {who} ({client.protocol}|{client.agent}) @ {block['time'].strftime(clock)}"
        f" (connected {block['connected'].strftime(clock)}) {direction}\n"
    ]
    for name, channel, packets in streams:
        code = f"{name}_00_{channel}" if old else f"FDSN:{name}_00_{'_'.join(channel)}"
        lines.append(f"{code}/MSEED {packets * 512} {packets}\n")
    total = sum(packets * 512 for *_, packets in streams)
    lines.append(f"END CLIENT {who} total {direction} bytes: {total}\n")
    return "".join(lines)


def _json(block: dict, direction: str) -> str:
    client = block["client"]
    clock = "%Y-%m-%dT%H:%M:%SZ"
    who = {"ip": client.address, "server_port": 18000, "hostname": client.host}
    if client.agent != "Client":
        who["user_agent"] = client.agent
    streams = [
        {
            "stream_id": f"FDSN:{name}_00_{'_'.join(channel)}/MSEED",
            "bytes": packets * 512,
            "packets": packets,
        }
        for name, channel, packets in block["streams"]
    ]
    one = {
        "log_time": block["time"].strftime(clock),
        "log_start_time": block["from"].strftime(clock),
        "connect_time": block["connected"].strftime(clock),
        "client": who,
        "transfer_protocol": {"name": client.protocol, "version": "4.0"},
        "transfer_direction": direction,
        "service": {"name": "ringserver", "version": "4.5.3"},
        "streams": streams,
        "transfer_bytes": sum(stream["bytes"] for stream in streams),
    }
    return json.dumps(one, separators=(",", ":")) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--days", type=int, default=DAYS)
    parser.add_argument("--seed", type=int, default=SEED)
    given = parser.parse_args()
    count = write(given.folder, days=given.days, seed=given.seed)
    print(f"wrote logs of {given.days} days into {given.folder}")
    print(f"before some of them were lost, they had {count:,} transfers")
