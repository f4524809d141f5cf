from __future__ import annotations

import json

from imagesdk.emulator.forms import UploadedFile
from imagesdk.emulator.recording import RecordedRequest

RECORD = RecordedRequest(
    method="POST",
    path="/v1/images/edits",
    query={"a": "b"},
    headers={"Authorization": "Bearer sk-secret", "API-Key": "sk-secret", "X": "y\udcff"},
    params={"prompt": "a fox", "images": [{"image_url": "data:" + "x" * 40_000}], "lone": "\ud800"},
    files=(UploadedFile(field="image", filename="a", content_type="image/png", data=b"secret"),),
    request_id="req_1",
    status=200,
    charged=2,
    fault={"latency": 1.0},
    seconds=0.12345678,
)


def test_a_summary_is_one_line_of_a_log() -> None:
    """It has values and sizes, and no headers; what nobody wants to read is shortened."""
    summary = RECORD.summary()
    assert "headers" not in summary
    assert (summary["seconds"], summary["charged"]) == (0.123457, 2)
    (url,) = (image["image_url"] for image in summary["params"]["images"])
    assert url.endswith("... (40005 characters)")
    assert len(url) < 200
    assert summary["files"] == [
        {"field": "image", "filename": "a", "content_type": "image/png", "size_bytes": 6}
    ]
    assert "\n" not in json.dumps(summary)


def test_the_whole_record_has_no_secrets() -> None:
    """Keys are masked, files are named by their hash."""
    whole = RECORD.to_json()
    assert "secret" not in json.dumps(whole)
    assert whole["headers"] == {"Authorization": "***", "API-Key": "***", "X": "y?"}
    assert whole["files"][0]["sha256"].startswith("2bb80d537b1d")
    assert whole["query"] == {"a": "b"}
