# agent.py
import http.client, json, os, random, re, sys, threading, time, traceback, urllib.request, uuid

URL = os.environ.get("FABRIC_BACKEND_GUILD_URL", "http://127.0.0.1:8080")
TOKEN = os.environ["FABRIC_BACKEND_GUILD_TOKEN"].strip()
HEADERS = {"Authorization": "Bearer " + TOKEN, "Content-Type": "application/json"}
ME = {"worker": "agent.py", "instance": str(uuid.uuid4())}  # after a restart, the new instance gets the old one's work


def think(wake):
    return "\n".join(m["content"].upper() for m in wake["messages"])  # here your model thinks


class Plain(urllib.request.HTTPErrorProcessor):
    """Follows no redirect: it would take the token along, and turn the POST into a GET."""

    http_response = https_response = lambda _, request, answer: answer


opener = urllib.request.build_opener(Plain)


def ask(path, body, most=None):
    """Asks until the server has an answer, most times at most. A refusal is logged, and comes back with its code."""
    tries = 0
    while True:
        tries += 1
        pause = min(30, 0.25 * 2 ** min(tries, 7)) * random.uniform(0.5, 1)
        try:
            request = urllib.request.Request(URL + "/api/" + path, json.dumps(body).encode(), HEADERS)
            with opener.open(request, timeout=60) as answer:
                text = answer.read().decode(errors="replace")
            if answer.status < 300:
                return json.loads(text or "{}")
            own = answer.headers.get("Content-Type") == "application/problem+json"  # not a proxy's
            print(answer.url, answer.status, text if own else "", file=sys.stderr)
            if own and answer.status == 401:
                os._exit(3)  # a new token is needed
            if own and answer.status != 429 and answer.status < 500:
                return json.loads(text)
            wanted = answer.headers.get("Retry-After", "")
            pause = max(pause, min(300, int(wanted) if wanted.isdecimal() else 0))  # it may be a date
        except (OSError, http.client.HTTPException, ValueError) as e:
            print(URL, path, e, file=sys.stderr)
        if tries == most:
            return {}
        time.sleep(pause)


def extend(wake, ended):
    while not ended.wait(wake["leaseMs"] / 3000):
        ask(f"wakes/{wake['id']}/extend", {})


while True:
    answer = ask("wakes/claim", {"waitSeconds": 30, **ME})
    if "code" in answer:
        sys.exit(1)  # the log says why
    wake = answer.get("wake")
    if not wake:
        continue
    ended = threading.Event()
    ask(f"channels/{wake['channelId']}/activity", {"kind": "thinking", "ttlSeconds": 60}, 1)  # others see that it works
    threading.Thread(target=extend, args=(wake, ended), daemon=True).start()
    try:
        content = re.sub("^/", "//", think(wake))  # a slash at the beginning is no command
        reply = {"content": content, "replyTo": wake["messages"][-1]["id"], "wakeId": wake["id"]}
        if content.strip():
            code = ask(f"channels/{wake['channelId']}/messages", reply).get("code")
        else:
            code = ask(f"wakes/{wake['id']}/ack", {}).get("code")  # nothing to say
        if code and code != "wake_lost":
            ask(f"wakes/{wake['id']}/ack", {"outcome": "declined", "note": code})
    except Exception as e:
        traceback.print_exc()
        ask(f"wakes/{wake['id']}/nack", {"error": str(e)[:500]})  # it comes back later
    ended.set()
