#!/usr/bin/env bash
# Asks every app of every server for what it owes, with one worker and with two. Builds nothing.
#
#     check.sh BINARIES [PYTHON]
#
# BINARIES holds the bench-* programs, of which two are made from C by hand (see README.md); PYTHON has
# what python/requirements.txt names; curl, node, nginx and openssl are found by PATH. Ends with 1 at the
# first wrong answer.
set -euo pipefail
binaries=$1 python=${2:-python3} here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d) server=
trap '[ -z "$server" ] || kill "$server" || true; wait; rm -rf "$work"' EXIT
mkdir "$work/dir" && head -c 1024 /dev/zero >"$work/dir/1k.txt" && head -c 1M /dev/urandom >"$work/dir/1m.bin"
(cd "$work/dir" && cp 1m.bin bulk.bin && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \
  -subj /CN=example.com -addext subjectAltName=DNS:example.com -keyout site.key -out site.pem 2>/dev/null)

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
datagrams() { "$python" "$here/talk.py" "$address" datagrams || die "wrong datagrams"; }
tls() {
  local port=${address#*:}
  secured() { curl -fsS --max-time 10 --tlsv1.3 --no-alpn --cacert "$work/dir/site.pem" --resolve "example.com:$port:${address%:*}" "https://example.com:$port/$1"; }
  [ "$(secured '')" = "Hello, World!" ] || die "no greeting over TLS"
  secured bulk.bin | cmp - "$work/dir/bulk.bin" || die "bulk.bin differs"
}
tls-resumed() {
  tls
  ask() { printf 'GET / HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n' |
    openssl s_client -ign_eof -tls1_3 -connect "$address" "$@" >"$work/answer" 2>/dev/null || true; }
  ask -sess_out "$work/session"
  ask -sess_in "$work/session"
  has 'Reused, TLSv1.3.*'
}

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
try c-datagrams datagrams "1 2" "$binaries/bench-c-datagrams"
try rustls "tls tls-resumed" "1 2" "$binaries/bench-rustls"
try tokio datagrams "1 2" "$binaries/bench-tokio"
for p in tokio tokio-mt monoio monoio-epoll; do try "$p" "echo lines" "1 2" "$binaries/bench-$p"; done
try ntex "echo lines hello json file" "1 2" "$binaries/bench-ntex"
for p in hyper may; do try "$p" "hello json" "1 2" "$binaries/bench-$p"; done
for p in axum actix; do try "$p" "hello json file" "1 2" "$binaries/bench-$p"; done
try node "echo lines hello json datagrams" "1 2" node "$here/node/server.js"
try asyncio "echo lines datagrams" 1 "$python" "$here/python/asyncio_server.py"
BENCH_UVLOOP=1 try uvloop "echo lines datagrams" 1 "$python" "$here/python/asyncio_server.py"
try twisted "echo lines hello json file datagrams tls tls-resumed" 1 "$python" "$here/python/twisted_server.py"

name=nginx address=127.0.0.1:$("$python" -c 'import socket; print(socket.create_server(("127.0.0.1", 0)).getsockname()[1])')
try_nginx() { # TEMPLATE SCHEME APPS...: the same
  local template=$1 scheme=$2; shift 2
  sed "s|@PORT@|${address#*:}|; s|@WORKERS@|$workers|; s|@DIR@|$work/dir|g; s|@TMP@|$work|; s|@SESSIONS@|on|; s|@CACHE@|shared:tls:10m|" \
    "$here/nginx/$template" >"$work/conf"
  nginx -e stderr -p "$work" -c "$work/conf" & server=$!
  curl -fsSk -o "$work/answer" --retry 9 --retry-connrefused --retry-delay 1 "$scheme://$address/" 2>"$work/error" || die "$(cat "$work/error")"
  for app in "$@"; do "$app"; echo "ok nginx $app $workers"; done
  kill "$server"; wait "$server" || true; server=
}
for workers in 1 2; do
  try_nginx nginx.conf.in http hello file
  try_nginx tls.conf.in https tls tls-resumed
done
