"""Commands and digests that images are made with."""

from pathlib import Path

from hutch.host.images import rootfs
from hutch.host.images.debian import recipe, source

MIB = 1 << 20


def test_a_root_image_has_room_for_its_content_and_a_quarter_more() -> None:
    argv = rootfs.mkfs_argv(Path("/i"), rootfs.Usage(size=400 * MIB, files=12_000), Path("/tree"))
    blocks = int(str(argv[-1]))
    inodes = int(str(argv[argv.index("-N") + 1]))
    assert 564 * MIB + inodes * 256 - 4096 <= blocks * 4096 <= 564 * MIB + inodes * 256
    assert inodes >= 15_000
    assert argv[-4:-1] == ["-d", Path("/tree"), Path("/i")]


def test_many_small_files_get_their_inodes() -> None:
    argv = rootfs.mkfs_argv(Path("/i"), rootfs.Usage(size=4 * MIB, files=900_000))
    assert int(str(argv[argv.index("-N") + 1])) > 1_100_000
    assert int(str(argv[-1])) * 4096 > 900_000 * 256
    assert "-d" not in argv


def test_the_digest_follows_the_recipe_and_the_mirror_only() -> None:
    assert recipe.digest("") == recipe.digest("")
    assert recipe.digest("") != recipe.digest("http://mirror.example/debian")
    assert recipe.digest("").startswith("sha256:")


def test_nothing_is_masked_or_listed_twice() -> None:
    for names in (recipe.PACKAGES, recipe.MASKED_UNITS, recipe.MASKED_GENERATORS):
        assert len(set(names)) == len(names)


def test_the_hosts_mirrors_of_our_suite_are_taken_and_no_others() -> None:
    listed = (
        "Debian|bookworm|http://mirror.example/debian/|bookworm|main\n"
        "Debian|bookworm|http://mirror.example/debian/|bookworm|contrib\n"
        "Debian|bookworm-security|http://mirror.example/security/|bookworm-security|main\n"
        "Debian|trixie|http://mirror.example/debian/|trixie|main\n"
        "Other vendor|bookworm|http://vendor.example/|bookworm|main\n"
        "Debian|bookworm|cdrom://disc/|bookworm|main\n"
        "garbage\n"
    )
    assert source.parse_index_targets(listed) == [
        "deb http://mirror.example/debian bookworm contrib main",
        "deb http://mirror.example/security bookworm-security main",
    ]


def test_a_host_of_another_suite_offers_nothing() -> None:
    assert source.parse_index_targets("Debian|bookworm-updates|http://m/debian/|bookworm-updates|main\n") == []
    assert source.parse_index_targets("Debian|trixie|http://m/debian/|trixie|main\n") == []


def test_mmdebstraps_words_are_those_of_apt() -> None:
    stderr = "I: running apt-get update...\nErr:1 http://m x\nE: Failed to fetch http://m\nE: Some failed\nE: x\nE: y\n"
    assert source.words(stderr) == "Failed to fetch http://m; Some failed; x"
    assert source.words("") == "mmdebstrap failed"
