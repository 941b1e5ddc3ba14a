import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from types import UnionType
from typing import get_args, get_type_hints

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from node.journal import open_journal
from node.journal.database import _MIGRATIONS, HEAD, Database, prepare
from node.journal.models import COLUMNS, TABLES, Base
from strategies.errors import JournalError
from strategies.records import RECORD_TYPES

_TYPES = {str: sa.Text, int: sa.BigInteger, float: sa.Double, bool: sa.Boolean}


def _set_revision(url, revision):
    database = Database(url)
    with database.writing() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = :new"), {"new": revision})
    database.close()


def test_migrations_give_exactly_the_models(journal):
    with journal._database.reading() as connection:
        options = {"compare_type": True, "compare_server_default": True}
        assert compare_metadata(MigrationContext.configure(connection, opts=options), Base.metadata) == []


def test_head_is_the_newest_migration():
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    script = ScriptDirectory.from_config(config)
    assert script.get_heads() == [HEAD]
    numbers = [revision.revision for revision in script.walk_revisions()]
    assert numbers == sorted(numbers, reverse=True)  # "newer" is told by text order


def test_every_field_that_is_no_list_has_a_column_of_its_type():
    assert set(TABLES) == set(RECORD_TYPES)
    for kind in RECORD_TYPES:
        hints = get_type_hints(kind)
        fields = [name for name in kind.__struct_fields__ if not str(hints[name]).startswith("list")]
        assert sorted(COLUMNS[kind]) == sorted(fields), kind
        for name in fields:
            choices = get_args(hints[name]) if isinstance(hints[name], UnionType) else (hints[name],)
            (plain,) = set(choices) - {type(None)}
            column = TABLES[kind].c[name]
            assert type(column.type) is _TYPES[plain], (kind, name)
            assert column.nullable == (type(None) in choices), (kind, name)


def test_opening_again_changes_nothing(url, make):
    first = open_journal(url)
    first.record(make.fill())
    first.close()
    second = open_journal(url)
    assert second.fills() == [make.fill()]
    assert second.meta() == first_meta(url)
    second.close()


def first_meta(url):
    reader = open_journal(url, read_only=True)
    meta = reader.meta()
    reader.close()
    assert set(meta) == {"journal", "created"}
    return meta


@pytest.mark.parametrize("read_only", [False, True])
def test_a_newer_schema_is_refused_and_untouched(url, make, read_only):
    journal = open_journal(url)
    journal.record(make.fill())
    journal.close()
    _set_revision(url, "9999")
    with pytest.raises(JournalError, match=r"schema 9999 .* newer version .*install that version"):
        open_journal(url, read_only=read_only)
    _set_revision(url, HEAD)
    again = open_journal(url)
    assert again.fills() == [make.fill()]
    again.close()


def test_reading_only_never_creates_or_upgrades(url, backend, tmp_path):
    with pytest.raises(JournalError, match="no such file" if backend == "sqlite" else "holds no journal"):
        open_journal(url, read_only=True)
    assert list(tmp_path.iterdir()) == []
    open_journal(url).close()
    _set_revision(url, "0000")
    with pytest.raises(JournalError, match=r"older than .*start the node on it once"):
        open_journal(url, read_only=True)


def test_an_upgrade_that_breaks_off_leaves_no_trace(url, monkeypatch):
    def fail(*_):
        raise sa.exc.OperationalError("CREATE TABLE", {}, Exception("power cut"))

    with monkeypatch.context() as patch:
        # The last step of the creation: every table exists by then.
        patch.setattr("node.journal.database.introduction", fail)
        with pytest.raises(JournalError, match="power cut"):
            open_journal(url)
    database = Database(url)
    with database.reading() as connection:
        assert sa.inspect(connection).get_table_names() == []
    prepare(database)
    with database.reading() as connection:
        assert set(sa.inspect(connection).get_table_names()) == {*Base.metadata.tables, "alembic_version"}
    database.close()


def test_processes_that_open_it_first_take_turns(url):
    program = (
        "import sys; from node.journal import open_journal; j = open_journal(sys.argv[1]);"
        "from strategies.records import IncidentRecord as I;"
        "j.record(I(id=sys.argv[2], market_time=1, wall_time=1, severity='info', code='', symbol='', message=''));"
        "j.close()"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", program, url, str(number)], stderr=subprocess.PIPE)
        for number in range(4)
    ]
    for process in processes:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors.decode()
    journal = open_journal(url, read_only=True)
    assert sorted(incident.id for incident in journal.incidents()) == ["0", "1", "2", "3"]
    journal.close()


def test_another_file_is_no_journal(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("this is not a database, " * 100)
    for read_only in (False, True):
        with pytest.raises(JournalError, match="not a database"):
            open_journal(f"sqlite:///{path}", read_only=read_only)
    assert path.read_text().startswith("this is not a database")


def test_another_program_s_database_is_left_alone_when_reading(tmp_path):
    path = tmp_path / "other.sqlite"
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE t (x)")
    with pytest.raises(JournalError, match="holds no journal"):
        open_journal(f"sqlite:///{path}", read_only=True)


def test_sqlite_is_durable_and_open_to_readers(tmp_path):
    journal = open_journal(f"sqlite:///{tmp_path}/journal.sqlite")
    with journal._database.writing() as connection:
        found = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "busy_timeout")
        }
    journal.close()
    assert found == {"journal_mode": "wal", "synchronous": 2, "busy_timeout": 5_000}


def test_migrations_travel_with_the_package():
    # Setuptools takes every folder below `node` that is a package; Alembic finds its scripts beside this module.
    for folder in (_MIGRATIONS, _MIGRATIONS / "versions"):
        assert (folder / "__init__.py").is_file()
    assert Path(_MIGRATIONS).is_relative_to(Path(sys.modules["node.journal"].__file__).parent)
