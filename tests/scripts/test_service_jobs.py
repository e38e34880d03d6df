"""Records of the service's videos: limits, the queue, what expires, what a crash leaves."""

from __future__ import annotations

import pytest


@pytest.fixture
def videos(tmp_path):
    from service_jobs import Videos

    return Videos(tmp_path / "videos", most=3, most_of_client=2)


def asked(videos, key, client="a"):
    from service_jobs import Video

    video = Video(key, client, {"seed": 1}, ["4.seed=1"])
    videos.add(video)
    return video


def test_limits_in_all_and_of_one_client(videos):
    from service_jobs import DONE, TooMany

    first = asked(videos, "1")
    asked(videos, "2")
    with pytest.raises(TooMany, match="2 of your videos are waiting"):
        asked(videos, "3")
    asked(videos, "3", "b")
    with pytest.raises(TooMany, match="3 videos are waiting, which is all that may"):
        asked(videos, "4", "c")
    videos.end(first, DONE)
    asked(videos, "4", "c")


def test_places_in_the_queue(videos):
    from service_jobs import RUNNING

    first, second = asked(videos, "1"), asked(videos, "2")
    assert [videos.place(first), videos.place(second)] == [1, 2]
    first.state = RUNNING
    assert [videos.place(first), videos.place(second)] == [0, 1]


def test_what_has_ended_stays_ended(videos):
    from service_jobs import CANCELLED, DONE

    video = asked(videos, "1")
    videos.end(video, CANCELLED)
    videos.end(video, DONE, files=["late.mp4"])
    assert (video.state, video.files) == (CANCELLED, [])


def test_only_old_ended_videos_expire(videos):
    from service_jobs import DONE

    old, fresh, running = asked(videos, "1"), asked(videos, "2"), asked(videos, "3", "b")
    videos.end(old, DONE)
    videos.end(fresh, DONE)
    old.ended -= 100
    running.created -= 1000
    assert videos.expire(50) == ["1"]
    assert not videos.path("1").exists() and "2" in videos and "3" in videos


def test_a_new_start_reads_the_records_and_skips_a_torn_one(videos):
    from service_jobs import CUT, DONE, Videos

    done = asked(videos, "1")
    videos.end(done, DONE, files=["a.mp4"])
    asked(videos, "2")
    (videos.path("x")).mkdir()
    (videos.path("x") / "video.json").write_text('{"id": "x"')
    again = Videos(videos.folder, 3, 3)
    assert (again["1"].state, again["2"].state) == (DONE, CUT) and "x" not in again
    assert Videos(videos.folder, 3, 3)["2"].state == CUT
