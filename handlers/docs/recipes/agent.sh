#!/bin/sh
# agent.sh: stdin has the wake as JSON, and what it prints is the reply
said=$(jq -r '.messages[].content') || exit # so that the agent sees the failure
printf '%s\n' "$said" | tr a-z A-Z           # here your model thinks
