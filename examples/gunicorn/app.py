"""A search API the way many shops run it: a fixed pool of synchronous workers
and one PostgreSQL database per zone.

Nothing in here knows firebreak. A query against a hung database hangs its
worker, and the worker does not notice that the proxy in front gave up.

Environment:
  STORES    CSV with the columns store,zone (default stores.csv)
  ZONES     CSV with the columns zone,dsn (default zones.csv)
  BUSY_DIR  optional: each worker keeps a file there, named by its pid, that
            says what it works on ("z01 s0001", blank when idle); whoever wants
            to know how many workers are really occupied reads these files
"""

import csv
import json
import os
from urllib.parse import parse_qs, quote

import psycopg2

# FOR KEY SHARE waits for a row that somebody else holds FOR UPDATE: a locked
# row hangs the requests of its store and of no other.
# The tag tells the database, and firebreak with it, which store and which request a
# query is for.
TAG = "/*store='%s',request='%s'*/ "
QUERY = "SELECT v, pg_sleep(cost) FROM stores WHERE id = %s FOR KEY SHARE"
RECORD = 64


def read_pairs(path, key, value):
    with open(path, newline="") as f:
        return {row[key]: row[value] for row in csv.DictReader(f)}


STORES = read_pairs(os.environ.get("STORES", "stores.csv"), "store", "zone")
ZONES = read_pairs(os.environ.get("ZONES", "zones.csv"), "zone", "dsn")


class Busy:
    """The worker's own word on whether it is occupied, and by what."""

    def __init__(self):
        self.dir = os.environ.get("BUSY_DIR")
        self.pid = self.fd = None

    def mark(self, what):
        if not self.dir:
            return
        if self.pid != os.getpid():
            self.pid = os.getpid()
            path = os.path.join(self.dir, str(self.pid))
            self.fd = os.open(path, os.O_CREAT | os.O_WRONLY, 0o644)
        os.pwrite(self.fd, what.encode()[:RECORD].ljust(RECORD), 0)


busy = Busy()
connections = {}


def connect(zone):
    conn = psycopg2.connect(ZONES[zone])
    conn.autocommit = True
    connections[zone] = conn
    return conn


def connect_all():
    """Opens every zone's connection; a zone that is down is tried again later."""
    for zone in ZONES:
        try:
            connect(zone)
        except psycopg2.Error:
            pass


def read(zone, store, request):
    """Reads a store's row, once more on a new connection if the old one broke."""
    for last in (False, True):
        try:
            conn = connections.get(zone) or connect(zone)
            with conn.cursor() as cursor:
                tag = TAG % (quote(store, safe=""), quote(request, safe=""))
                cursor.execute(tag.replace("%", "%%") + QUERY, (store,))
                return cursor.fetchone()
        except psycopg2.errors.QueryCanceled:
            raise  # nobody waits for it any more
        except psycopg2.Error:
            broken = connections.pop(zone, None)
            if broken is not None:
                broken.close()
            if last:
                raise


def key_of(environ):
    if environ["REQUEST_METHOD"] == "POST":
        length = int(environ.get("CONTENT_LENGTH") or 0)
        return json.loads(environ["wsgi.input"].read(length)).get("key", "")
    return parse_qs(environ.get("QUERY_STRING", "")).get("key", [""])[0]


def search(environ):
    try:
        store = key_of(environ)
    except (ValueError, AttributeError):
        return "400 Bad Request", {"error": "the body is not a JSON object"}
    zone = STORES.get(store)
    if zone is None:
        return "404 Not Found", {"error": "unknown key"}
    busy.mark(zone + " " + store)
    try:
        row = read(zone, store, environ.get("HTTP_FIREBREAK_REQUEST", ""))
    except psycopg2.Error as e:
        return "500 Internal Server Error", {"store": store, "error": str(e)}
    finally:
        busy.mark("")
    if row is None:
        return "500 Internal Server Error", {"store": store, "error": "no such row"}
    return "200 OK", {"store": store, "zone": zone, "result": row[0]}


def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path in ("/search", "/internal/check"):
        status, answer = search(environ)
    elif path == "/internal/alive":
        status, answer = "200 OK", {"alive": True}
    else:
        status, answer = "404 Not Found", {"error": "no such page"}
    body = json.dumps(answer).encode()
    start_response(status, [
        ("Content-Type", "application/json"),
        ("Content-Length", str(len(body))),
    ])
    return [body]
