# agent.py
import http.client, json, os, random, re, sys, threading, time, urllib.error, urllib.request, uuid

URL = os.environ.get("FABRIC_BACKEND_GUILD_URL", "http://127.0.0.1:8080")
HEADERS = {"Authorization": "Bearer " + os.environ["FABRIC_BACKEND_GUILD_TOKEN"], "Content-Type": "application/json"}
ME = {"worker": "agent.py", "instance": str(uuid.uuid4())}  # after a restart, the new instance gets the old one's work


def think(wake):
    return "\n".join(m["content"].upper() for m in wake["messages"])  # here your model thinks


def ask(path, body):
    """Asks until the server has an answer. A refusal comes back with its code."""
    tries = 0
    while True:
        try:
            request = urllib.request.Request(URL + "/api/" + path, json.dumps(body).encode(), HEADERS)
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.loads(answer.read() or b"{}")
        except urllib.error.HTTPError as e:
            own = e.headers.get("Content-Type") == "application/problem+json"  # not a proxy's
            if own and e.code == 401:
                os._exit(3)  # a new token is needed
            if own and e.code != 429 and e.code < 500:
                return {"code": json.load(e)["code"]}
            print(path, "got", e.code, file=sys.stderr)
        except (OSError, http.client.HTTPException, ValueError) as e:
            print(e, file=sys.stderr)
        time.sleep(min(30, 0.5 * 2 ** min(tries, 6)) * random.uniform(0.5, 1))
        tries += 1


def extend(wake, ended):
    while not ended.wait(wake["leaseMs"] / 3000):
        ask(f"wakes/{wake['id']}/extend", {})


while True:
    wake = ask("wakes/claim", {"waitSeconds": 30, **ME}).get("wake")
    if not wake:
        continue
    ended = threading.Event()
    ask(f"channels/{wake['channelId']}/activity", {"kind": "thinking", "ttlSeconds": 60})  # others see that it works
    threading.Thread(target=extend, args=(wake, ended), daemon=True).start()
    try:
        content = re.sub("^/", "//", think(wake))  # a slash at the beginning is no command
        reply = {"content": content, "replyTo": wake["messages"][-1]["id"], "wakeId": wake["id"]}
        code = ask(f"channels/{wake['channelId']}/messages", reply).get("code")
        if code and code != "wake_lost":
            ask(f"wakes/{wake['id']}/ack", {"outcome": "declined", "note": code})
    except Exception as e:
        ask(f"wakes/{wake['id']}/nack", {"error": str(e)[:500]})  # it comes back later
    ended.set()
