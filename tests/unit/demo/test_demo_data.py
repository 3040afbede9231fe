"""The sample data of the demo."""

from __future__ import annotations

import csv
import io

from astropy.io import fits
from PIL import Image

from jupyterhub_dlaas.demo.lake import samples


def test_the_bytes_are_the_same_every_time() -> None:
    for sample in samples.samples():
        if sample.name.endswith((".fits", ".png")):
            assert sample.make() == sample.make(), sample.name


def test_all_of_it_is_a_few_megabytes() -> None:
    assert 2e6 < sum(len(sample.make()) for sample in samples.samples()) < 10e6


def test_names_are_unique_in_their_scope() -> None:
    names = [(sample.scope, sample.name) for sample in samples.samples()]
    assert len(names) == len(set(names))


def test_containers_hold_datasets_that_exist() -> None:
    datasets = {(sample.scope, sample.dataset) for sample in samples.samples()}
    assert {(box.scope, name) for box in samples.COLLECTIONS for name in box.datasets} <= datasets


def test_an_event_list_opens_and_has_its_events() -> None:
    with fits.open(io.BytesIO(samples.event_list(1, 83.633, 22.014))) as opened:
        events = opened["EVENTS"].data
        assert len(events) == samples.CRAB_EVENTS
        assert events["ENERGY"].min() >= 0.1


def test_muon_pairs_show_the_z() -> None:
    rows = list(csv.DictReader(io.StringIO(samples.dimuons(seed=2012, rows=3000).decode())))
    peak = sum(abs(float(row["mass"]) - 91.2) < 5 for row in rows)
    beside = sum(abs(float(row["mass"]) - 76.2) < 5 for row in rows)
    assert peak > 5 * beside


def test_the_source_catalogue_matches_its_image() -> None:
    with fits.open(io.BytesIO(samples.radio_image(seed=560))) as opened:
        image = opened[0].data.copy()
    brightest = max(
        csv.DictReader(io.StringIO(samples.source_catalogue(seed=560).decode())), key=lambda row: float(row["flux_jy"])
    )
    assert image[round(float(brightest["y"])), round(float(brightest["x"]))] > 0.8 * image.max()


def test_a_preview_is_a_png() -> None:
    assert Image.open(io.BytesIO(samples.preview(samples.radio_image(seed=560)))).size == (512, 512)
