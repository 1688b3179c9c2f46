#!/usr/bin/env bash
# Starts the engine with the sample scripts, calls one of them with the built-in softphone, and shows what happened.
# The caller dials 2008 (scripts/read-back.js) and keys 4 2 #; what it hears is written to demo.wav.
set -euo pipefail
cd "$(dirname "$0")/.."
lockstep=${LOCKSTEP:-target/debug/lockstep}
work=$(mktemp -d)
engine=
timeline=

finish() {
  status=$?
  [ -z "$timeline" ] || kill "$timeline" 2>/dev/null || true
  [ -z "$engine" ] || kill "$engine" 2>/dev/null || true
  wait 2>/dev/null || true
  [ $status -eq 0 ] || { echo "The engine's log:"; tail -n 40 "$work/engine.log"; } >&2
  rm -rf "$work"
  exit $status
}
trap finish EXIT

# Alone, the demo takes whatever ports are free; a demo that stays keeps those of lockstep.toml, for softphones.
if [ "${1:-}" != --stay ]; then
  export LOCKSTEP_SIP__LISTEN='["udp:127.0.0.1:0"]' LOCKSTEP_API__LISTEN=127.0.0.1:0
fi
mkfifo "$work/ready"
"$lockstep" serve demo >"$work/ready" 2>"$work/engine.log" &
engine=$!
exec 3<"$work/ready"

sip= api=
while [ -z "$sip" ] || [ -z "$api" ]; do
  read -r line <&3 || { echo 'The engine ended before it was ready.' >&2; exit 1; }
  case $line in
    *udp:*) sip=${line##*udp:} ;;
    *http://*) api=http://${line##*http://} ;;
  esac
done
export LOCKSTEP_URL=$api

"$lockstep" calls --follow > >(tee "$work/timeline") 2>"$work/following" &
timeline=$!
# It says so once it follows: a call that comes before would lack its beginning.
for _ in {1..600}; do
  grep -qs following "$work/following" && break
  sleep 0.1
done
"$lockstep" phone call "sip:2008@$sip" --dtmf '42#@5' --duration 14 --record demo.wav >"$work/phone.log" || {
  cat "$work/phone.log" >&2
  exit 1
}
# On a busy machine the last lines of the timeline, its figures, come a moment after the phone has hung up.
for _ in {1..600}; do
  grep -q '  media  ' "$work/timeline" && break
  sleep 0.1
done
echo
echo "What the caller heard is in demo.wav."

if [ "${1:-}" = --stay ]; then
  echo "The engine stays up at sip:$sip and $api, its log is $work/engine.log; Ctrl-C ends it."
  trap 'exit 0' INT TERM
  wait "$engine"
fi
