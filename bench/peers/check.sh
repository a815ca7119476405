#!/usr/bin/env bash
# Asks every app of every server for what it owes, with one worker and with two. Builds nothing.
#
#     check.sh BINARIES [PYTHON]
#
# BINARIES holds the bench-* programs, of which bench-c is made by hand (see README.md); PYTHON has
# what python/requirements.txt names; curl, node and nginx are found by PATH. Ends with 1 at the
# first wrong answer.
set -euo pipefail
binaries=$1 python=${2:-python3} here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d) server=
trap '[ -z "$server" ] || kill "$server" || true; wait; rm -rf "$work"' EXIT
mkdir "$work/dir" && head -c 1024 /dev/zero >"$work/dir/1k.txt" && head -c 1M /dev/urandom >"$work/dir/1m.bin"

die() { echo "$name: $*" >&2; exit 1; }
has() { tr -d '\r' <"$work/answer" | grep -Eqix -- "$1" || { cat "$work/answer" >&2; die "no $1 in the answer"; }; }
get() { curl -fsSi --max-time 10 -o "$work/answer" "http://$address$1" || die "curl failed"; }

talk() { "$python" "$here/talk.py" "$address" "$app" || die "wrong bytes"; }
hello() {
  get / && has 'HTTP/1.1 200 ok' && has 'content-type: text/plain(; ?charset=utf-8)?' && has 'content-length: 13'
  has 'date: .* GMT' && has 'Hello, World!' && talk
}
json() {
  get /users/42/orders/7 && has 'HTTP/1.1 200 ok' && has 'content-type: application/json' && has 'cache-control: no-store' && has 'x-request-id: 0123456789abcdef'
  has 'x-content-type-options: nosniff' && has 'x-frame-options: deny' && has 'vary: accept' && has 'date: .* GMT'
  has '\{"user":42,"order":7,"state":"shipped","items":\[\{"name":"rope","count":3\},\{"name":"hemp","count":12\}\]\}'
}
file() { for f in 1k.txt 1m.bin; do curl -fsS --max-time 10 "http://$address/$f" | cmp - "$work/dir/$f" || die "$f differs"; done; }

try() { # COMMAND... APPS WORKERS...: starts each and asks it
  name=$1; shift; local apps=$1 counts=$2; shift 2
  "$@" no-such-app 127.0.0.1:0 1 2>"$work/error" && die "took an unknown app" || [ $? = 2 ] || die "unknown app: no exit code 2: $(cat "$work/error")"
  for app in $apps; do for workers in $counts; do
    mkfifo "$work/out"; "$@" "$app" 127.0.0.1:0 "$workers" "$work/dir" >"$work/out" & server=$!
    read -r -t 10 line <"$work/out" || die "said nothing"; rm "$work/out"; address=${line#listening on }
    case $app in echo | lines) talk ;; *) "$app" ;; esac
    kill "$server"; wait "$server" || true; server=; echo "ok $name $app $workers"
  done; done
}
try c "echo lines" "1 2" "$binaries/bench-c"
for p in tokio tokio-mt monoio monoio-epoll; do try "$p" "echo lines" "1 2" "$binaries/bench-$p"; done
try ntex "echo lines hello json file" "1 2" "$binaries/bench-ntex"
for p in hyper may; do try "$p" "hello json" "1 2" "$binaries/bench-$p"; done
for p in axum actix; do try "$p" "hello json file" "1 2" "$binaries/bench-$p"; done
try node "echo lines hello json" "1 2" node "$here/node/server.js"
try asyncio "echo lines" 1 "$python" "$here/python/asyncio_server.py"
BENCH_UVLOOP=1 try uvloop "echo lines" 1 "$python" "$here/python/asyncio_server.py"
try twisted "echo lines hello json file" 1 "$python" "$here/python/twisted_server.py"

name=nginx address=127.0.0.1:$("$python" -c 'import socket; print(socket.create_server(("127.0.0.1", 0)).getsockname()[1])')
for workers in 1 2; do
  sed "s|@PORT@|${address#*:}|; s|@WORKERS@|$workers|; s|@DIR@|$work/dir|; s|@TMP@|$work|" "$here/nginx/nginx.conf.in" >"$work/conf"
  nginx -e stderr -p "$work" -c "$work/conf" & server=$!
  curl -fsS -o "$work/answer" --retry 9 --retry-connrefused --retry-delay 1 "http://$address/" 2>"$work/error" || die "$(cat "$work/error")"
  for app in hello file; do "$app"; echo "ok nginx $app $workers"; done
  kill "$server"; wait "$server" || true; server=
done
