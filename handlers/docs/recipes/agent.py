# agent.py
import http.client, json, os, random, sys, time, urllib.error, urllib.request

URL = os.environ.get("FABRIC_BACKEND_GUILD_URL", "http://127.0.0.1:8080")
AUTHORIZATION = {"Authorization": "Bearer " + os.environ["FABRIC_BACKEND_GUILD_TOKEN"]}


def ask(path, headers, body=None):
    request = urllib.request.Request(URL + path, body and json.dumps(body).encode(), AUTHORIZATION | headers)
    return urllib.request.urlopen(request, timeout=45)  # without a byte: three heartbeats


def its_word(e):  # not that of a proxy
    return e.headers.get("Content-Type") == "application/problem+json"


def answer(message):
    content = message["content"].upper()  # here your model thinks
    headers = {"Content-Type": "application/json", "Idempotency-Key": message["id"]}
    try:
        ask(f"/api/channels/{message['channelId']}/messages", headers, {"content": content, "replyTo": message["id"]}).close()
    except urllib.error.HTTPError as e:
        if e.code in (401, 429) or e.code >= 500 or not its_word(e):
            raise  # else it cannot be answered


def save(cursor):
    with open("agent.cursor.new", "w") as f:
        f.write(cursor)
    os.replace("agent.cursor.new", "agent.cursor")


cursor, tries = "", 0
if os.path.exists("agent.cursor"):
    with open("agent.cursor") as f:
        cursor = f.read()
while True:
    try:
        headers = {"Accept": "application/x-ndjson"} | ({"Last-Event-ID": cursor} if cursor else {})
        with ask("/api/stream?wakeup=true&types=message.created", headers) as stream:
            for line in stream:
                if not line.endswith(b"\n"):
                    break  # a line that is cut off does not count
                event = json.loads(line)
                if event["event"] == "message.created":
                    answer(event["data"])
                if event["event"] == "stream.reset":
                    print(event["data"]["reason"], "what was missed is in the channels' histories", file=sys.stderr)
                if event.get("id", cursor) != cursor:
                    cursor, tries = event["id"], 0
                    save(cursor)
    except (OSError, http.client.HTTPException) as e:
        print(e, file=sys.stderr)
        if getattr(e, "code", 0) == 401 and its_word(e):
            sys.exit(3)  # a new token is needed
    time.sleep(min(30, 0.5 * 2 ** min(tries, 6)) * random.uniform(0.5, 1))
    tries += 1
