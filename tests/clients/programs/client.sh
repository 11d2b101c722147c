#!/usr/bin/env bash
# curl as a client: client.sh SERVER RELAY FOLDER [curl's options…]; see runner.py.
set -euo pipefail
server=$1 relay=$2 folder=$3
shift 3
curl=(curl --silent --show-error --max-time 240 "$@")
json=(--header 'Content-Type: application/json')
out=$(mktemp)
trap 'rm -f "$out"' EXIT

request() { # its case, then options
  local status
  status=$("${curl[@]}" --output "$out" --write-out '%{http_code}' "${@:2}")
  printf '%s\t%s\t%s\n' "$1" "$status" "$(base64 -w0 "$out")"
}

request invocations "${json[@]}" --data-binary "@$folder/invocations" "$server/invocations"
request infer "${json[@]}" --data-binary "@$folder/infer" "$server/v2/models/wine/infer"
# What is behind # is not sent: these are 100 requests for the same path.
"${curl[@]}" "${json[@]}" --data-binary "@$folder/invocations" --output /dev/null \
  --write-out 'keep-alive\t%{http_code}\t\n' "$relay/invocations#[1-100]"
request chunked "${json[@]}" --header 'Transfer-Encoding: chunked' \
  --data-binary "@$folder/large" "$server/invocations"
"${curl[@]}" --head --output /dev/null --write-out 'head\t%{http_code}\t\n' "$server/ping" \
  --next "$@" --silent --output /dev/null --write-out 'head\t%{http_code}\t\n' "$server/ping"
request expect-continue "${json[@]}" --header 'Expect: 100-continue' \
  --data-binary "@$folder/invocations" "$server/invocations"
request gzip "${json[@]}" --header 'Content-Encoding: gzip' \
  --data-binary "@$folder/gzip" "$server/invocations"
request wrong "${json[@]}" --data-binary "@$folder/wrong" "$server/invocations"
request wrong-infer "${json[@]}" --data-binary "@$folder/wrong" "$server/v2/models/wine/infer"
