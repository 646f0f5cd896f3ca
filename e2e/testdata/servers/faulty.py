"""examples/gunicorn/app.py with faults of the server itself. The file that FAULT
names says which: "slow" (everything takes ten times as long), "error" (everything
is answered with 500), or nothing.
"""

import os
import time

import app


def fault():
    with open(os.environ["FAULT"]) as f:
        return f.read()


def application(environ, start_response):
    def respond(status, headers):
        # So that a test can tell which server has answered.
        start_response(status, headers + [("X-Worker", os.environ["LISTEN"])])

    now = fault()
    if now == "error":
        respond("500 Internal Server Error", [("Content-Length", "0")])
        return [b""]
    began = time.monotonic()
    body = app.application(environ, respond)
    if now == "slow":
        time.sleep(9 * (time.monotonic() - began))
    return body
