#!/bin/sh
answer=$(printf %s "$FABRIC_CONTENT" | tr a-z A-Z) # here your model thinks
status=$(jq -n --arg content "$answer" '{$content, replyTo: env.FABRIC_MESSAGE_ID}' |
  curl -sS -o /dev/null -w '%{http_code} %{content_type}' "$FABRIC_URL/api/channels/$FABRIC_CHANNEL_ID/messages" \
    -H "Authorization: Bearer $FABRIC_BACKEND_GUILD_TOKEN" -H 'Content-Type: application/json' \
    -H "Idempotency-Key: $FABRIC_MESSAGE_ID" -d @-)
case $status in
2*) ;;
401* | 429* | 5*) exit 1 ;;           # try again
4*' application/problem+json') ;;     # the server's own word: there is nothing to answer
*) exit 1 ;;                          # nobody's, or a proxy's
esac
