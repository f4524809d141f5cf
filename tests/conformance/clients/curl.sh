#!/usr/bin/env bash
# curl, with the commands of the two documents that the project started from, and its odd ways to send.
# usage: curl.sh FOLDER-OF-EXAMPLES, with OPENAI_BASE_URL and OPENAI_API_KEY set
set -euo pipefail
cd "$1"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
key="Authorization: Bearer $OPENAI_API_KEY"
json="Content-Type: application/json"
otter='{"prompt": "A cute baby sea otter", "n": 2, "size": "256x256"}'

fail() { echo "curl: $1" >&2; exit 1; }
# answer WHAT PATTERN COUNT ARGUMENTS...: the answer has status 200, and a line for each match
answer() {
  local what=$1 pattern=$2 count=$3; shift 3
  curl -sS -o "$folder/answer" -w '%{http_code}' "$@" > "$folder/status" || fail "$what: curl ends with $?"
  test "$(cat "$folder/status")" = 200 || fail "$what: status $(cat "$folder/status"): $(cat "$folder/answer")"
  test "$(grep -o "$pattern" "$folder/answer" | wc -l)" = "$count" || fail "$what: not $count times $pattern"
}
# refused WHAT STATUS ARGUMENTS...: the answer is the API's envelope, with that status
refused() {
  local what=$1 status=$2; shift 2
  curl -sS -o "$folder/answer" -w '%{http_code}' "$@" > "$folder/status" || fail "$what: curl ends with $?"
  test "$(cat "$folder/status")" = "$status" || fail "$what: status $(cat "$folder/status"), not $status"
  grep -q '^{"error":{"message":"[^"]' "$folder/answer" || fail "$what: no envelope: $(cat "$folder/answer")"
}

# As in the documents.
answer "generations" '"url"' 2 "$OPENAI_BASE_URL/images/generations" \
  -H "Content-Type: application/json" \
  -H "$key" \
  -d '{
    "prompt": "A cute baby sea otter",
    "n": 2,
    "size": "1024x1024"
  }'
picture=$(grep -o 'http://[^"]*' "$folder/answer" | head -1)
curl -sSf -o "$folder/picture.png" "$picture" || fail "the picture at its URL"
head -c 4 "$folder/picture.png" | grep -q PNG || fail "the picture is no PNG file"
answer "edits" '"url"' 2 "$OPENAI_BASE_URL/images/edits" \
  -H "$key" \
  -F image="@otter.png" \
  -F mask="@otter_mask.png" \
  -F prompt="A cute baby sea otter wearing a beret" \
  -F n=2 \
  -F size="1024x1024"
answer "variations" '"url"' 2 "$OPENAI_BASE_URL/images/variations" \
  -H "$key" \
  -F image="@otter.png" \
  -F n=2 \
  -F size="1024x1024"

# Other ways to send the same.
answer "octet-stream" '"url"' 1 "$OPENAI_BASE_URL/images/variations" -H "$key" \
  -F 'image=@otter.png;type=application/octet-stream;filename=blob' -F size=256x256
answer "chunked JSON" '"url"' 2 "$OPENAI_BASE_URL/images/generations" -H "$key" -H "$json" \
  -H "Transfer-Encoding: chunked" -d "$otter"
answer "chunked form" '"url"' 1 "$OPENAI_BASE_URL/images/variations" -H "$key" \
  -H "Transfer-Encoding: chunked" -F image=@otter.png -F size=256x256
answer "100-continue" '"url"' 2 "$OPENAI_BASE_URL/images/generations" -H "$key" -H "$json" \
  -H "Expect: 100-continue" --expect100-timeout 20 -d "$otter"
answer "HTTP/1.0" '"url"' 2 --http1.0 "$OPENAI_BASE_URL/images/generations" -H "$key" -H "$json" -d "$otter"
answer "HTTP/1.0 form" '"url"' 1 --http1.0 "$OPENAI_BASE_URL/images/variations" -H "$key" \
  -F image=@otter.png -F size=256x256
answer "stream" '^event: image_generation' 3 -N "$OPENAI_BASE_URL/images/generations" -H "$key" -H "$json" \
  -d '{"model": "gpt-image-2", "prompt": "a fox", "stream": true, "partial_images": 2}'
answer "models" '"id"' 1 "$OPENAI_BASE_URL/models/dall-e-2" -H "$key"
answer "a file" '"id"' 1 "$OPENAI_BASE_URL/files" -H "$key" -F purpose=vision -F file=@otter.png

# What is no request is refused in the API's words.
form="Content-Type: multipart/form-data"
for path in images/edits images/variations files; do
  refused "garbage in a form" 400 "$OPENAI_BASE_URL/$path" -H "$key" -H "$form; boundary=x" -d 'garbage'
  refused "a form without an end" 400 "$OPENAI_BASE_URL/$path" -H "$key" -H "$form; boundary=x" --data-binary $'--x\r\n'
  refused "a form without a boundary" 400 "$OPENAI_BASE_URL/$path" -H "$key" -H "$form" -d 'garbage'
done
refused "no JSON" 400 "$OPENAI_BASE_URL/images/generations" -H "$key" -H "$json" -d '{oh'
refused "an unknown route" 404 "$OPENAI_BASE_URL/images/nothing" -H "$key" -d x
refused "another method" 405 -X DELETE "$OPENAI_BASE_URL/images/generations" -H "$key"
refused "no key" 401 "$OPENAI_BASE_URL/images/generations" -H "$json" -d "$otter"

curl --version | head -1 | cut -d' ' -f1,2
