#!/usr/bin/env bash
# Follows a stream with curl. After each end it reconnects with the last id. A frame is complete at its blank line.
id=
while true; do
  while IFS=' ' read -r name value; do
    case $name in
      event:) event=$value ;;
      data:) data=$value ;;
      id:) next=$value ;;
      '') [ -n "$data" ] && id=$next && echo "{\"event\":\"$event\",\"id\":\"$id\",\"data\":$data}"
        event='' data='' ;;
    esac
  done < <(curl -sSfN -H "Authorization: Bearer $TOKEN" ${id:+-H "Last-Event-ID: $id"} "$1")
  event='' data=''
  sleep 0.5
done
