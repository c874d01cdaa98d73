#!/bin/sh
# claim.sh
api=${FABRIC_BACKEND_GUILD_URL:-http://127.0.0.1:8080}/api
me=$(printf '"worker":"claim.sh","instance":"%s-%s"' "$(date +%s)" $$)
answer=$(mktemp) && trap 'rm -f "$answer"' EXIT

ask() { # PATH BODY: asks until the server has an answer. Fails if the server refuses
  while :; do
    status=$(printf %s "$2" | curl -sS -m 60 -o "$answer" -w '%{http_code} %{content_type}' "$api/$1" \
      -H "Authorization: Bearer $FABRIC_BACKEND_GUILD_TOKEN" -H 'Content-Type: application/json' -d @-)
    case $status in
    2*) return 0 ;;
    401*problem+json) exit 3 ;; # a new token is needed
    429*) ;;
    4*problem+json) return 1 ;; # the server's own word, not a proxy's
    esac
    sleep 2
  done
}

while :; do
  ask wakes/claim "{\"waitSeconds\":30,$me}" || exit 1
  id=$(jq -r '.wake.id // empty' "$answer")
  [ -n "$id" ] || continue
  channel=$(jq -r .wake.channelId "$answer")
  reply=$(jq -c '{replyTo: .wake.messages[-1].id, wakeId: .wake.id,
    content: [.wake.messages[].content | ascii_upcase] | join("\n") # here your model thinks
      | sub("^/"; "//")}' "$answer") # a slash at the beginning is no command
  while sleep 20 && kill -0 $$ 2>/dev/null; do (answer=/dev/null && ask "wakes/$id/extend" '{}'); done &
  ask "channels/$channel/messages" "$reply" || ask "wakes/$id/ack" '{"outcome":"declined"}'
  kill $! # no more extensions
done
