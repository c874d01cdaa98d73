#!/bin/sh
# agent.sh: stdin has the wake as JSON, and what it prints is the reply
jq -r '.messages[].content' | tr a-z A-Z # here your model thinks
