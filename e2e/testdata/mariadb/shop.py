"""A search API with one MariaDB, whose queries are tagged as docs/behind.md shows."""

import json
import os
from urllib.parse import parse_qs, quote

import pymysql

host, port = os.environ["MARIADB"].split(":")
connection = None


def mark(what):
    with open(os.path.join(os.environ["BUSY_DIR"], str(os.getpid())), "w") as f:
        f.write(what.ljust(64))


def read(store):
    global connection
    if connection is None:
        connection = pymysql.connect(host=host, port=int(port), user="app", database="shop", autocommit=True)
    sql = "SELECT v FROM stores WHERE id = %s LOCK IN SHARE MODE"
    with connection.cursor() as cursor:
        cursor.execute("/*store='" + quote(store, safe="").replace("%", "%%") + "'*/ " + sql, (store,))
        return cursor.fetchone()


def application(environ, start_response):
    store = parse_qs(environ.get("QUERY_STRING", "")).get("key", [""])[0]
    status, answer = "200 OK", {"alive": True}
    if store:
        mark("z04 " + store)
        answer = {"result": read(store)[0]}
        mark("")
    body = json.dumps(answer).encode()
    start_response(status, [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]
