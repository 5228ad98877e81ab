"""The same study on a database server: PostgreSQL and MariaDB, started here on loopback."""

import math
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import optuna
import pytest

import nntune
from nntune import study
from nntune.cli import main
from nntune.errors import DatabaseError, NotFoundError, UsageError
from nntune.study import Outcome, Server, View, database

PENGUINS = Path(__file__).parent / "data" / "penguins.csv"
SPACE = {"units": "8,16", "hidden_layers": "1:2", "batch_size": "16,32", "epochs": "9"}
FLAGS = [w for name, text in SPACE.items() for w in (f"--{name.replace('_', '-')}", text)]
AS_ROOT = os.name == "posix" and os.geteuid() == 0
PATIENCE = 60  # seconds after which something hangs

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the servers are Debian's packages")


def program(name: str, *places: str) -> str:
    """Where a program of a Debian package is; a test is skipped without it."""
    found = [str(path) for place in places for path in sorted(Path("/usr").glob(place + name))]
    if not found:
        pytest.skip(f"{name} is not installed")
    return found[-1]


def wait_until(holds: Callable[[], object]) -> None:
    until = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.05)


def free_port() -> int:
    with closing(socket.socket()) as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def folder_of(user: str) -> Iterator[tuple[Path, str | None]]:
    """A folder for a server, and as whom to run it: none of them runs as root."""
    with tempfile.TemporaryDirectory() as folder:
        if AS_ROOT:
            shutil.chown(folder, user)
        yield Path(folder), user if AS_ROOT else None


@contextmanager
def running(words: list[str], folder: Path, user: str | None) -> Iterator[None]:
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(words, cwd=folder, user=user, stdout=log, stderr=log)
    try:
        yield
    finally:
        process.send_signal(signal.SIGINT if "postgres" in words[0] else signal.SIGTERM)
        process.wait(PATIENCE)


@contextmanager
def postgresql() -> Iterator[str]:
    psycopg = pytest.importorskip("psycopg", reason="nntune[postgresql] is not installed")
    places = ("lib/postgresql/*/bin/", "bin/")
    initdb, postgres = program("initdb", *places), program("postgres", *places)
    with folder_of("postgres") as (folder, user):
        port, data = free_port(), str(folder / "data")
        make = [initdb, "-D", data, "-A", "trust", "-U", "tester", "--no-sync"]
        subprocess.run(make, cwd=folder, user=user, check=True, capture_output=True)
        settings = (f"port={port}", "listen_addresses=127.0.0.1", "fsync=off")
        flags = [word for each in settings for word in ("-c", each)]
        with running([postgres, "-D", data, "-k", str(folder), *flags], folder, user):
            address = f"host=127.0.0.1 port={port} user=tester dbname=postgres"

            def connected() -> bool:
                with suppress(psycopg.OperationalError):
                    with psycopg.connect(address, autocommit=True) as connection:
                        connection.execute("CREATE DATABASE tuning")
                    return True
                return False

            wait_until(connected)
            yield f"postgresql://tester:secret@127.0.0.1:{port}/tuning"


@contextmanager
def mariadb() -> Iterator[str]:
    pymysql = pytest.importorskip("pymysql", reason="nntune[mysql] is not installed")
    install, daemon = program("mariadb-install-db", "bin/"), program("mariadbd", "sbin/", "bin/")
    with folder_of("mysql") as (folder, user):
        port, data = free_port(), f"--datadir={folder / 'data'}"
        plain = [install, "--no-defaults", "--auth-root-authentication-method=normal"]
        make = [*plain, "--skip-test-db", data]
        subprocess.run(make, cwd=folder, user=user, check=True, capture_output=True)
        place = f"--socket={folder / 'socket'}", f"--pid-file={folder / 'pid'}"
        words = [daemon, "--no-defaults", data, f"--port={port}", "--bind-address=127.0.0.1"]
        with running([*words, *place, "--innodb-flush-log-at-trx-commit=0"], folder, user):

            def connected() -> bool:
                with suppress(pymysql.err.OperationalError):
                    with pymysql.connect(
                        user="root", unix_socket=str(folder / "socket")
                    ) as connection:
                        cursor = connection.cursor()
                        cursor.execute("CREATE DATABASE tuning")
                        cursor.execute(
                            "GRANT ALL ON tuning.* TO t@localhost IDENTIFIED BY 'secret'"
                        )
                    return True
                return False

            wait_until((folder / "socket").exists)
            wait_until(connected)
            yield f"mysql://t:secret@127.0.0.1:{port}/tuning"


@pytest.fixture(scope="module", params=[postgresql, mariadb])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    with request.param() as address:
        yield address


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> View:
    """The study as a file has it."""
    path = tmp_path_factory.mktemp("local") / "s.db"
    return nntune.search(PENGUINS, "species", trials=20, space=SPACE, db=path)


def facts(view: View) -> list[tuple[object, ...]]:
    """All that is known of the trials but when and how long they were trained, best first."""
    return [
        (
            *(t.number, t.state, t.params, t.distributions_json, t.value, t.epoch, t.rungs),
            *(t.reason, t.bracket, t.loss, t.losses),
        )
        for t in view.trials()
    ] + [(view.curve(t.number), view.weights(t.number)) for t in view.trials(top=4)]


@pytest.fixture(scope="module")
def found(url: str, local: View) -> View:
    """The study on a server, after a search that was killed and gone on with."""
    place = database(url)
    study.open_writer(place, "penguins", local.definition).close()
    words = ["search", str(PENGUINS), "-t", "species", "-n", "20", "--db", url, *FLAGS, "-q"]
    process = subprocess.Popen(
        [sys.executable, "-m", "nntune", *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    wait_until(lambda: study.read(place, "penguins").trials() or process.poll() is not None)
    process.kill()
    _, message = process.communicate()
    assert (process.returncode, message) == (-signal.SIGKILL, b"")
    return nntune.search(PENGUINS, "species", trials=20, space=SPACE, db=url, study="penguins")


def test_a_killed_search_ends_with_the_study_of_a_file(found: View, local: View) -> None:
    assert facts(found) == facts(local)
    assert found.listed(top=5) == local.listed(top=5)
    assert found.best() == found.trials(top=1)[0]
    assert found.counts() == local.counts()


def test_a_second_search_on_a_study_is_refused_while_the_first_runs(url: str, local: View) -> None:
    place = database(url)
    with study.open_writer(place, "held", local.definition):
        with pytest.raises(DatabaseError) as refused:
            study.open_writer(place, "held", local.definition)
        assert str(refused.value) == (
            f"study 'held' in {place} is in use by another nntune search; wait for it or use "
            "--study NAME."
        )
        study.open_writer(place, "beside", local.definition).close()
        with study.open_writer(place, "held", local.definition, fresh=True) as writer:
            assert writer.name == "held-2"
    study.open_writer(place, "held", local.definition).close()


def test_a_search_that_loses_its_server_says_so_and_can_go_on(url: str, local: View) -> None:
    place = database(url)
    assert isinstance(place, Server)
    with study.open_writer(place, "lost", local.definition) as writer:
        writer.begin(0, [(0, {}, {})])
        with place.session() as other:
            if place.dialect.driver == "psycopg":
                other.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
            else:
                sessions = other.execute(
                    "SELECT id FROM information_schema.processlist "
                    "WHERE db = DATABASE() AND id <> CONNECTION_ID()"
                )
                for (number,) in sessions:
                    other.execute(f"KILL {number}")
        with pytest.raises(DatabaseError) as lost:
            writer.begin(0, [(1, {}, {})])
        assert str(lost.value).startswith(f"{place}: ")
    with study.open_writer(place, "lost", local.definition) as writer:
        assert [trial.state for trial in writer.trials()] == ["running"]


def test_what_goes_beside_trials_is_kept_too(url: str, local: View) -> None:
    place = database(url)
    with study.open_writer(place, "odd", local.definition) as writer:
        writer.begin(0, [(0, {}, {}), (1, {}, {})])
        writer.retry([1])
        writer.set_attribute("note", 1)
        writer.set_attribute("note", ["ä", None])
        writer.add_verdict("test", {"schema": "nntune.test/1"})
        rungs = {1: math.inf, 3: -math.inf, 5: 0.1 + 0.2}
        writer.report(
            [Outcome(0, "failed", None, None, None, rungs, {1: math.nan, 3: 5e-324}, "why", 1, [])]
        )
    view = study.read(place, "odd")
    first, second = sorted(view.trials())
    assert (first.rungs, second.attempts, view.counts()["running"]) == (rungs, 2, 1)
    assert (math.isnan(first.losses[1]), first.losses[3]) == (True, 5e-324)
    assert view.attributes() == {"note": ["ä", None]}
    assert [each["schema"] for each in view.verdicts("test")] == ["nntune.test/1"]


def test_commands_read_it_and_nothing_shows_the_password(
    url: str, found: View, capsys: pytest.CaptureFixture[str]
) -> None:
    place = found.path
    words = ["best", "penguins", "--db", url], ["trials", "penguins", "--db", url], ["studies", url]
    for each in words:
        with pytest.raises(SystemExit) as end:
            main(each)
        assert end.value.code == 0
    shown = capsys.readouterr()
    assert str(place) in shown.out
    assert "20 trials" in shown.out
    assert "secret" not in shown.out + shown.err + str(found.definition)
    wrong = database(url.replace("secret", "wrong").replace("/tuning", "/none"))
    with pytest.raises(DatabaseError) as refused:
        study.read(wrong)
    assert str(refused.value).startswith(f"{wrong}: ")
    assert "wrong" not in str(refused.value)


def test_optuna_opens_it_and_what_it_deletes_is_gone(found: View, local: View) -> None:
    place = found.path
    assert isinstance(place, Server)
    storage = optuna.storages.RDBStorage(study.for_optuna(place))
    try:
        loaded = optuna.load_study(study_name="penguins", storage=storage)
        assert (len(loaded.trials), loaded.best_value) == (20, local.best().value)  # type: ignore[union-attr]
        optuna.delete_study(study_name="penguins", storage=storage)
    finally:
        storage.engine.dispose()
    with place.session() as session:
        for table in ("nntune_trial", "nntune_rung", "nntune_weights"):
            query = f"SELECT count(*) FROM {table} n JOIN trials t ON t.trial_id = n.trial_id"
            every = session.execute(f"SELECT count(*) FROM {table}").fetchone()
            assert session.execute(query).fetchone() == every
    with pytest.raises(NotFoundError, match="holds no study 'penguins'"):
        study.read(place, "penguins")


def test_an_address_that_cannot_be_one_is_refused() -> None:
    with pytest.raises(UsageError) as refused:
        database("oracle://host/tuning")
    assert str(refused.value) == "--db oracle://: there are postgresql, mysql, mariadb, and files."


def test_looking_after_files_is_not_for_servers(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("psycopg", reason="nntune[postgresql] is not installed")
    with pytest.raises(SystemExit) as end:
        main(["db", "check", "postgresql://me:secret@host/tuning"])
    assert (end.value.code, capsys.readouterr().err) == (
        2,
        "nntune: nntune db is for files; postgresql://me@host/tuning has its server's own tools.\n",
    )


def test_the_command_of_a_study_has_no_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["nntune", "search", "x", "--db=mysql://me:pass@host/tuning"])
    from nntune.cli import _command

    assert _command() == "nntune search x --db=mysql://me@host/tuning"
