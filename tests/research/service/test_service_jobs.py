"""The queue on both kinds of database: one owner at a time, no job ends twice, nothing is lost."""

import threading
import time

import pytest
import sqlalchemy as sa

from node.journal import open_journal
from research.service.jobs import MAX_ATTEMPTS, Queue
from research.service.models import Base


@pytest.fixture(name="queue")
def queue_fixture(url):
    queue = Queue(url)
    queue.prepare()
    yield queue
    queue.close()


def add(queue, text="{}"):
    return queue.add(text, "h", most_waiting=100)


def lapse(seconds=0.15):
    time.sleep(seconds)


def test_the_schema_is_that_of_the_models(queue):
    inspector = sa.inspect(queue.database.engine)
    for table in Base.metadata.sorted_tables:
        found = {c["name"]: c["nullable"] for c in inspector.get_columns(table.name)}
        assert found == {c.name: c.nullable for c in table.columns}
        assert {i["name"] for i in inspector.get_indexes(table.name)} == {i.name for i in table.indexes}


def test_it_lives_beside_a_journal(url):
    """In either order, and preparing again changes nothing."""
    queue = Queue(url)
    queue.prepare()
    identity = add(queue)
    open_journal(url).close()
    queue.prepare()
    assert queue.get(identity).state == "queued"
    queue.close()


def test_oldest_first_and_each_once(queue):
    first, second = add(queue, "1"), add(queue, "2")
    taken = [queue.take("w", 30) for _ in range(3)]
    assert [t.id for t in taken[:2]] == [first, second]
    assert taken[2] is None
    assert taken[0].config == "1"


def test_takers_in_parallel_share_the_jobs(queue):
    jobs = {add(queue) for _ in range(30)}
    taken = []

    def work():
        while (job := queue.take(threading.current_thread().name, 30)) is not None:
            taken.append(job.id)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert sorted(taken) == sorted(jobs)


def test_a_finished_job_has_its_result(queue):
    identity = add(queue)
    job = queue.take("w", 30)
    assert queue.renew(job, 30, 0.5) == "mine"
    assert queue.get(identity).progress == 0.5
    assert queue.finish(job, result='{"x":1}', trial="t")
    found = queue.get(identity)
    assert (found.state, found.progress, found.trial, found.worker) == ("done", 1.0, "t", None)
    assert queue.result(identity) == '{"x":1}'


def test_a_lapsed_lease_gives_the_job_to_another_and_the_late_one_stores_nothing(queue):
    identity = add(queue)
    slow = queue.take("slow", 0.05)
    lapse()
    quick = queue.take("quick", 30)
    assert (quick.id, quick.attempt) == (identity, 2)
    assert queue.renew(slow, 30, 0.9) == "lost"
    assert not queue.finish(slow, result="late", trial=None)
    assert not queue.fail(slow, "late")
    assert not queue.cancelled(slow)
    assert queue.finish(quick, result="right", trial=None)
    assert not queue.finish(slow, result="later", trial=None)
    assert queue.result(identity) == "right"


def test_a_job_that_always_kills_its_worker_is_given_up(queue):
    identity = add(queue)
    for _ in range(MAX_ATTEMPTS):
        assert queue.take("w", 0.01).id == identity
        lapse(0.05)
    assert queue.take("w", 30) is None
    found = queue.get(identity)
    assert found.state == "failed"
    assert "ended 3 times" in found.error


def test_a_killed_run_is_tried_again_a_few_times(queue):
    identity = add(queue)
    for _ in range(MAX_ATTEMPTS):
        queue.again(queue.take("w", 30), "ended by signal 9")
    assert queue.get(identity).state == "failed"
    assert queue.take("w", 30) is None


def test_giving_back_costs_no_attempt(queue):
    identity = add(queue)
    for _ in range(MAX_ATTEMPTS + 2):
        assert queue.give_back(queue.take("w", 30))
    assert queue.get(identity).state == "queued"


def test_cancelling(queue):
    waiting, running, orphan = add(queue), add(queue), add(queue)
    assert queue.cancel(waiting).state == "cancelled"
    job = queue.take("w", 30)
    assert job.id == running
    assert queue.cancel(running).state == "running"
    assert queue.renew(job, 30, 0.1) == "cancel"
    assert queue.cancelled(job)
    assert queue.get(running).state == "cancelled"
    dying = queue.take("w", 0.01)
    assert dying.id == orphan
    queue.cancel(orphan)
    lapse(0.05)
    assert queue.take("w", 30) is None
    assert queue.get(orphan).state == "cancelled"
    assert queue.cancel("0" * 32) is None


def test_a_full_queue_takes_no_more(queue):
    assert queue.add("{}", "h", most_waiting=1)
    assert queue.add("{}", "h", most_waiting=1) is None


def test_listing(queue):
    made = [add(queue) for _ in range(5)]
    assert [j.id for j in queue.newest(state=None, limit=3, before=None)] == made[:1:-1]
    before = queue.get(made[2]).created
    assert [j.id for j in queue.newest(state="queued", limit=9, before=before)] == made[1::-1]
    assert queue.newest(state="done", limit=9, before=None) == []
