"""gunicorn's settings for app.py; the environment can change some of them."""

import os

bind = os.environ.get("LISTEN", "127.0.0.1:9000")
workers = int(os.environ.get("WORKERS", "32"))
worker_class = "sync"

# Seconds after which gunicorn kills a worker that is stuck in a request; 0 is
# never. What is killed here ends its slot in firebreak at once.
timeout = int(os.environ.get("WORKER_TIMEOUT", "30"))

# One import for all workers, so that a restart is quick.
preload_app = True


def post_worker_init(worker):
    """Announces the worker, connected already when CONNECT_EARLY is set.

    Off by default: with a zone down, a starting worker would wait for it.
    """
    import app

    if os.environ.get("CONNECT_EARLY"):
        app.connect_all()
    app.busy.mark("")
