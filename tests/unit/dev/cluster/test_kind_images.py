"""Which images a node of the cluster has, by what containerd lists."""

from dev.cluster.kind import digests, has_image

LISTED = """\
REF TYPE DIGEST SIZE PLATFORMS LABELS
docker.io/team/scoring:1 application/vnd.docker sha256:manifest 765.8 MiB linux/amd64 -
sha256:config application/vnd.docker sha256:manifest 765.8 MiB linux/amd64 -
sha256:older application/vnd.docker sha256:old-manifest 700.1 MiB linux/amd64 -
"""


def test_an_image_by_its_name_and_id_is_there() -> None:
    assert has_image(digests(LISTED), "team/scoring:1", "sha256:config")


def test_another_build_by_that_name_is_not() -> None:
    assert not has_image(digests(LISTED), "team/scoring:1", "sha256:newer")


def test_an_older_build_that_lost_the_name_is_not() -> None:
    assert not has_image(digests(LISTED), "team/scoring:1", "sha256:older")


def test_a_name_that_nobody_loaded_is_not() -> None:
    assert not has_image(digests(LISTED), "team/operator:1", "sha256:config")
    assert not has_image(digests(""), "team/operator:1", "sha256:config")
