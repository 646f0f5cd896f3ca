"""Answers with the key that a Python application finds in the request, in the
place that X-Source names: written with Flask, with Django, or with the standard
library, as X-Reader says."""

import json
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

import django
import flask
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import JsonResponse
from django.urls import path, re_path


def bearer(authorization):
    words = authorization.split()
    return words[1] if len(words) > 1 and words[0].lower() == "bearer" else None


def field(body):
    return body.get("key") if isinstance(body, dict) else None


# Flask

web = flask.Flask(__name__)


@web.route("/", defaults={"first": None})
@web.route("/<first>")
@web.route("/<first>/<key>", methods=["GET", "POST"])
@web.route("/<first>/<key>/<path:rest>")
@web.route("/<first>", methods=["POST"])
def read_flask(first, key=None, rest=None):
    request = flask.request
    found = {
        "query": lambda: request.args.get("key"),
        "header": lambda: request.headers.get("X-Store"),
        "form": lambda: request.form.get("key"),
        "json": lambda: field(request.get_json(silent=True)),
        "cookie": lambda: request.cookies.get("key"),
        "host_label": lambda: request.host.split(":")[0].split(".")[0],
        "path_segment": lambda: key,
        "bearer": lambda: bearer(request.headers.get("Authorization", "")),
        "basic_user": lambda: request.authorization and request.authorization.username,
    }[request.headers["X-Source"]]()
    return flask.jsonify(key=found)


# Django

settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="none", DEBUG=False, LOGGING_CONFIG=None)
django.setup()


def read_django(request, first=None, key=None, rest=None):
    try:
        found = {
            "query": lambda: request.GET.get("key"),
            "header": lambda: request.headers.get("X-Store"),
            "form": lambda: request.POST.get("key"),
            "json": lambda: field(json.loads(request.body)),
            "cookie": lambda: request.COOKIES.get("key"),
            "host_label": lambda: request.get_host().split(":")[0].split(".")[0],
            "path_segment": lambda: key,
            "bearer": lambda: bearer(request.headers.get("Authorization", "")),
        }[request.headers["X-Source"]]()
    except Exception:
        found = None
    return JsonResponse({"key": found})


urlpatterns = [
    path("<str:first>/<str:key>", read_django),
    path("<str:first>/<str:key>/<path:rest>", read_django),
    re_path("", read_django),
]


# The standard library

def read_library(environ, start_response):
    def body():
        return environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))

    def segment():
        segments = environ["PATH_INFO"].split("/")
        return segments[2] if len(segments) > 2 else None

    def cookie():
        found = SimpleCookie(environ.get("HTTP_COOKIE", "")).get("key")
        return found and found.value

    try:
        found = {
            "query": lambda: parse_qs(environ["QUERY_STRING"]).get("key", [None])[0],
            "form": lambda: parse_qs(body().decode()).get("key", [None])[0],
            "json": lambda: field(json.loads(body())),
            "cookie": cookie,
            "path_segment": segment,
        }[environ["HTTP_X_SOURCE"]]()
    except (ValueError, RecursionError, CookieError):
        found = None
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps({"key": found}).encode()]


readers = {"flask": web, "django": get_wsgi_application(), "python": read_library}


def application(environ, start_response):
    return readers[environ["HTTP_X_READER"]](environ, start_response)
