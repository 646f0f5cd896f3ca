"""A lookup service: GET /stores/{key} says where a store of a CSV file lives."""

import csv
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

address, path = sys.argv[1:]
with open(path, newline="") as f:
    STORES = {row["store"]: row for row in csv.DictReader(f)}


class Lookup(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self):
        store = STORES.get(self.path.removeprefix("/stores/"))
        body = json.dumps(store).encode()
        self.send_response(200 if store else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


host, port = address.rsplit(":", 1)
ThreadingHTTPServer((host, int(port)), Lookup).serve_forever()
