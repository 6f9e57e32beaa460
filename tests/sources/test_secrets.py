"""Passwords in names of sources are shown nowhere."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import EdgeError
from edge.secrets import redacted, without_secrets
from edge.sources.open import open_source

HIDDEN = [
    "rtsp://admin:{}@10.0.0.7/live",
    "rtsp://admin:{}@10.0.0.7:554/user=x_channel=1",
    "rtsp://{}@10.0.0.7/live",
    "rtsp:/admin:{}@10.0.0.7/live",
    "rtsp:///admin:{}@10.0.0.7/live",
    "rtsp://10.0.0.7/user=admin_password={}_channel=1_stream=0.sdp",
    "rtsp://10.0.0.7/user=admin&password={}&channel=1&stream=0.sdp?real_stream",
    "rtsp://10.0.0.7/Streaming/passwd={}/1",
    "rtsp://10.0.0.7/user%3Dadmin%26password%3D{}%26channel%3D1",
    "rtsp://10.0.0.7/user%3dadmin%5fpassword%3d{}%5fchannel%3d1",
    "http://10.0.0.7/live.mjpg?x=1&token%3D{}",
    "http://10.0.0.7/live.mjpg?p={}",
    "http://10.0.0.7/live.mjpg?x=1&sid={}&y=2",
    "http://10.0.0.7/live.mjpg#pwd={}",
    "http://10.0.0.7/live.mjpg?access_token={}",
    "http://10.0.0.7/videostream.cgi?loginuse=admin&loginpas={}",
    "http://10.0.0.7/live.mjpg?login={}",
    "http://10.0.0.7/live.mjpg?x=1&jwt={}",
    "srt://10.0.0.7:9?streamid={}",
    "rtsp:admin:{}@10.0.0.7/live",
    "rtsp://10.0.0.7/user/admin/password/{}/ch1",
    "rtsp://admin:x@10.0.0.7/pwd/{}",
    "rtsp://10.0.0.7:554/live/admin:{}/ch0",
    "rtmp://10.0.0.7/live/{}",
    "https://10.0.0.7/a?tls=unverified&api_key={};b=1",
    "gst:rtspsrc location=rtsp://u:{}@10.0.0.7/1 ! decodebin ! appsink",
    'gst:rtspsrc location="rtsp://u:{}@10.0.0.7/1" ! decodebin ! appsink',
    "gst:rtspsrc location=rtsp://10.0.0.7/1 user-id=u user-pw={} ! decodebin ! appsink",
    'gst:rtspsrc user-pw = "{}" ! decodebin ! appsink',
    "gst:srtsrc uri=srt://10.0.0.7:9?passphrase={} ! decodebin ! appsink",
    "gst:souphttpsrc location=http://10.0.0.7/?token={} ! decodebin ! appsink",
]
SHOWN = [
    "drive.mp4",
    "/data/key=2/token=1/drive.mp4",
    "scene:street?seed=7&size=1280x720",
    "rtsp://10.0.0.7:554/Streaming/Channels/101?transportmode=unicast",
    "rtsps://10.0.0.7/stream?tls=unverified",
    "rtsp://10.0.0.7:8554/",
    "rtsp://[::1]:8554/camera:1/sub",
    "/data/password/drive.mp4",
    "gst:videotestsrc num-buffers=3 ! x264enc key-int-max=30 ! appsink max-buffers=1",
    "0?size=640x480&fps=30",
    "12:30@home.mp4",
    "u:x/y@h",
    "http://h/live?codec=h264&postcode=1",
    "http://h/stream/c2?c=1&t=640",
    "http://h/drives/drive_2026-01-01T12h30m00_cam1.mp4",
    "rtsp://h/h264Preview_01_main",
    "rtsp://h:554/Streaming/tracks/101?starttime=20260101T000000Z",
    "/data/550e8400-e29b-41d4-a716-446655440000/drive.mp4",
    "http://h/drive.mp4#stream=1",
]


@pytest.mark.parametrize("name", HIDDEN)
@given(secret=st.text("abcXYZ019.-_!*$", min_size=6, max_size=16).filter(lambda text: "_" not in text[:1]))
def test_a_secret_is_in_no_name_and_in_no_message(name: str, secret: str) -> None:
    named = name.format(secret)
    assert secret not in redacted(named)
    assert "***" in redacted(named)
    assert secret not in without_secrets(f"cannot open {named}: refused for {secret}", named)


@pytest.mark.parametrize(
    "name",
    [
        'gst:souphttpsrc extra-headers="headers,Authorization=(string)Bearer\\ {}" ! appsink',
        'gst:souphttpsrc cookies="{{a={},b=2}}" ! appsink',
        'gst:souphttpsrc extra-headers="h,Authorization=(string)\\"Bearer {}\\"" ! appsink',
        'gst:souphttpsrc cookies={{"sid={}"}} ! appsink',
        'gst:rtspsrc user-pw=(string)"{} x" ! appsink',
        'gst:rtspsrc user-pw="a\\"{}" ! appsink',
        "gst:rtspsrc location=rtsp:/u:{}@h ! appsink",
        "srt://h:9000?streamid=#!::u=a,s={}",
        "rtsp//u:{}@h/1",
        "http://h/x?otp={}",
        "http://h/x?bearer={}",
        "http://h/x?pswd={}",
        "http://h/x?code={}",
        "http://h/x?a=1&api-code={}",
        "http://h/x?access_code={}",
        "http://h/x?access={}",
        "http://h/api/webhooks/1234/{}",
        "http://h/hooks/{}",
        "u:{}@h",
        "u:{}@h:554/live?x=1",
        "u:x@h/live?token={}",
        "u:{}@h/live.mp4",
        "u:{}@h:554/a/live.ts",
        "http://h/v.mjpg?c={}",
        "http://h/v.mjpg?x=1&t={}",
        "http://h/v#{}",
        "https://hooks.slack.com/services/T000/B000/{}",
        "https://x.office.com/webhookb2/a@b/IncomingWebhook/{}/c",
        "rtsp://a:x@h/hooks/user=1_password={}/x",
    ],
)
def test_a_secret_of_several_words_or_in_an_unusual_place_is_hidden_as_a_whole(name: str) -> None:
    shown = redacted(name.format("geheim"))
    assert "geheim" not in shown
    assert "***" in shown


@pytest.mark.parametrize(
    "secret", ["550e8400-e29b-41d4-a716-446655440000", "kX9dQ2mVb7Lr", "eyJhbGciOiJIUzI1NiJ9.eyJz.SflKxw"]
)
@pytest.mark.parametrize(
    "name",
    ["https://ntfy.sh/{}", "rtsps://h:7441/{}?enableSrtp", "rtmp://h/{}", "http://h/{}/live.m3u8", "http://h/v?id={}"],
)
def test_a_part_of_an_address_that_looks_random_is_hidden(name: str, secret: str) -> None:
    assert redacted(name.format(secret)) == name.format("***")


@pytest.mark.parametrize("name", SHOWN)
def test_names_without_secrets_are_shown_as_they_are(name: str) -> None:
    assert redacted(name) == name


@given(st.text(max_size=200), st.sampled_from(["", "rtsp://", "gst:", "http://a:b@c/"]))
def test_any_text_is_redacted_without_a_crash(text: str, start: str) -> None:
    assert isinstance(redacted(start + text), str)


@pytest.mark.parametrize(
    "name",
    [
        "rtsp:/admin:geheim@10.0.0.7/live",
        "rstp://admin:geheim@10.0.0.7/live",
        "rtsp://admin:geheim@[::1/live",
        "gst:rtspsrc user-pw=geheim ! fakesink",
        "http:///user=a_password=geheim_b=1 x",
    ],
)
def test_what_cannot_be_opened_is_refused_without_its_secret(name: str) -> None:
    with pytest.raises(EdgeError) as refusal:
        open_source(name)
    assert "geheim" not in str(refusal.value)
