#!/bin/sh
# claim.sh
command -v jq >/dev/null || { echo 'claim.sh needs jq' >&2 && exit 1; }
api=${FABRIC_BACKEND_GUILD_URL:-http://127.0.0.1:8080}/api
token=$(printf %s "$FABRIC_BACKEND_GUILD_TOKEN" | tr -d '\r\n')
me=$(printf '"worker":"claim.sh","instance":"%s-%s"' "$(date +%s)" $$)
answer=$(mktemp) && trap 'rm -f "$answer"' EXIT

ask() { # PATH BODY: asks until the server has an answer. Fails if the server refuses, and logs why
  while :; do
    got=$(printf %s "$2" | curl -sS -m 60 -D - -o "$answer" -w 'got %{http_code} %{content_type}' "$api/$1" \
      -H "Authorization: Bearer $token" -H 'Content-Type: application/json' -d @-)
    wanted=$(printf '%s\n' "$got" | sed -n 's/^[Rr]etry-[Aa]fter: *\([0-9]\{1,3\}\)[^0-9]*$/\1/p')
    got=${got##*got }
    case $got in 2*) return 0 ;; esac
    echo "$api/$1 $got" >&2
    case $got in *problem+json) cat "$answer" >&2 ;; esac # the server's own word, not a proxy's
    case $got in
    401*problem+json) exit 3 ;; # a new token is needed
    429*) ;;
    4*problem+json) return 1 ;;
    esac
    sleep "${wanted:-2}"
  done
}

while :; do
  ask wakes/claim "{\"waitSeconds\":30,$me}" || exit 1
  id=$(jq -r '.wake.id // empty' "$answer")
  [ -n "$id" ] || continue
  channel=$(jq -r .wake.channelId "$answer")
  while sleep 20 && kill -0 $$ 2>/dev/null; do (answer=/dev/null && ask "wakes/$id/extend" '{}'); done &
  if ! text=$(jq -r '[.wake.messages[].content | ascii_upcase] | join("\n")' "$answer"); then # here your model thinks
    ask "wakes/$id/nack" '{"error":"the model failed"}' # it comes back later
  elif [ -z "$text" ]; then
    ask "wakes/$id/ack" '{}' # nothing to say
  else
    case $text in /*) text=/$text ;; esac # a slash at the beginning is no command
    reply=$(printf %s "$text" | jq -Rsc --slurpfile is "$answer" \
      '{content: ., replyTo: $is[0].wake.messages[-1].id, wakeId: $is[0].wake.id}')
    ask "channels/$channel/messages" "$reply" || ask "wakes/$id/ack" '{"outcome":"declined"}'
  fi
  kill $! # no more extensions
done
