"""Python's job queues against a running larder: `python job_queues.py HOST PORT`. Prints failures only."""

import logging
import sys
import traceback
from datetime import timedelta

import redis
from huey import PriorityRedisHuey, RedisHuey
from rq import Queue, Retry, SimpleWorker
from rq.registry import FailedJobRegistry, FinishedJobRegistry, ScheduledJobRegistry

HOST, PORT = sys.argv[1], int(sys.argv[2])


def rq():
    connection = redis.Redis(host=HOST, port=PORT, db=5)
    queue = Queue("jobs", connection=connection)
    first = queue.enqueue("operator.mul", 3, 3)
    # A failure, and the retry that fails too.
    broken = queue.enqueue("operator.truediv", 1, 0, retry=Retry(max=1))
    after = queue.enqueue("operator.mul", 4, 4, depends_on=first)
    later = queue.enqueue_in(timedelta(hours=1), "operator.neg", 9)
    SimpleWorker([queue], connection=connection).work(burst=True, logging_level="CRITICAL")
    assert (first.return_value(), after.return_value()) == (9, 16)
    assert broken.get_status(refresh=True) == "failed"
    assert broken.id in FailedJobRegistry(queue=queue)
    assert len(FinishedJobRegistry(queue=queue)) == 2
    assert later.id in ScheduledJobRegistry(queue=queue)
    later.delete()
    assert queue.count == 0


def huey():
    for kind in [RedisHuey, PriorityRedisHuey]:
        queue = kind(kind.__name__, host=HOST, port=PORT, db=6)
        add = queue.task(retries=1)(lambda a, b: a + b)
        consumer = queue.create_consumer(workers=2, periodic=False, initial_delay=0.05, scheduler_interval=1)
        consumer.start()
        try:
            now, later = add(1, 2), add.schedule((3, 4), delay=0.2)
            assert now(blocking=True, timeout=20) == 3, kind
            assert later(blocking=True, timeout=20) == 7, kind
            with queue.lock_task("one at a time"):
                assert queue.is_locked("one at a time")
        finally:
            consumer.stop(graceful=False)


def main():
    logging.disable(logging.CRITICAL)
    failed = 0
    for test in [rq, huey]:
        try:
            test()
        except Exception:
            failed += 1
            print(f"{test.__name__}:")
            traceback.print_exc(file=sys.stdout)
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
