"""What the status page says of downloads, in an environment with two Rucio instances."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "bundle"))  # bundle_samples

from bundle_samples import choice

from jupyterhub_dlaas.hub.status import _whose_tokens

ALONE = "The Rucio panel downloads from and uploads to ESCAPE Data Lake alone: "


def test_an_image_without_the_server_extension_downloads_from_the_first_instance_alone():
    assert _whose_tokens(choice(), None) == (
        f"{ALONE}the image of this server has no server extension of jupyterhub-dlaas."
    )


def test_what_the_extension_says_is_shown():
    assert _whose_tokens(choice(), "it works in another way") == f"{ALONE}it works in another way."


def test_with_the_extension_or_a_single_instance_nothing_is_said():
    assert _whose_tokens(choice(), "") == ""
    assert _whose_tokens(choice(environment="plain"), None) == ""
