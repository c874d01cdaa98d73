"""Follows a stream with a line reader that splits lines like str.splitlines, as httpx and requests do for text.

usage: TOKEN=... splitlines.py URL ACCEPT LAST_EVENT_ID

It prints each event as a line of JSON: {"event", "id", "data"}.
"""

import codecs
import json
import os
import sys
import urllib.request

url, accept, last_id = sys.argv[1:]
headers = {"Authorization": "Bearer " + os.environ["TOKEN"], "Accept": accept, "Last-Event-ID": last_id}


def lines(stream):
    """Yields the complete lines of a stream. A piece may end inside a line or a character."""
    decoder, rest = codecs.getincrementaldecoder("utf-8")(), ""
    while piece := stream.read1(4096):
        found = (rest + decoder.decode(piece)).splitlines(keepends=True)
        ended = not found or found[-1].splitlines() != [found[-1]]
        rest = "" if ended else found.pop()
        yield from (line.splitlines()[0] for line in found)


def events(stream):
    """Yields the events of text/event-stream (WHATWG HTML 9.2.6)."""
    event = {}
    for line in lines(stream):
        if line == "":
            if "data" in event:
                yield {"event": event.get("event"), "id": event.get("id"), "data": json.loads(event["data"])}
            event = {}
            continue
        name, _, value = line.partition(":")
        if name not in ("", "event", "data", "id", "retry"):
            sys.exit(f"not a field: {line!a}")
        event[name] = value.removeprefix(" ")


with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as answer:
    whole = answer.headers["Content-Type"] == "application/x-ndjson"
    for item in map(json.loads, lines(answer)) if whole else events(answer):
        print(json.dumps(item), flush=True)
