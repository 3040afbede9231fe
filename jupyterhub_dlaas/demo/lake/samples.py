"""Sample data: a few megabytes that look like science, the same bytes on every machine.

Nothing here was measured; the numbers are drawn from a seeded generator.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from astropy.io import fits
from PIL import Image

CRAB_EVENTS = 12000  # rows in every event list; the demo's own check counts them


@dataclass(frozen=True)
class Sample:
    """One file: its scope and name, the dataset (same scope) it is in, and how its bytes are made."""

    scope: str
    name: str
    dataset: str
    make: Callable[[], bytes]


@dataclass(frozen=True)
class Collection:
    """A container of datasets of one scope."""

    scope: str
    name: str
    datasets: tuple[str, ...]


COLLECTIONS = (
    Collection("cta", "gps-survey", ("gps-crab", "gps-galactic-centre")),
    Collection("skao", "sdc-demo", ("sdc-continuum", "sdc-catalogues")),
)


def samples() -> tuple[Sample, ...]:
    """Every file of the demo's lake."""
    return (
        *_gamma_rays("gps-crab", "crab", runs=3, right_ascension=83.633, declination=22.014),
        *_gamma_rays("gps-galactic-centre", "gc", runs=3, right_ascension=266.417, declination=-29.008),
        Sample("lhc.opendata", "dimuon_2012_A.csv", "dimuon-2012", lambda: dimuons(seed=2012, rows=9000)),
        Sample("lhc.opendata", "dimuon_2012_B.csv", "dimuon-2012", lambda: dimuons(seed=2013, rows=9000)),
        Sample("skao", "continuum_560MHz.fits", "sdc-continuum", lambda: radio_image(seed=560)),
        Sample("skao", "continuum_1400MHz.fits", "sdc-continuum", lambda: radio_image(seed=1400)),
        Sample("skao", "continuum_560MHz.png", "sdc-continuum", lambda: preview(radio_image(seed=560))),
        Sample("skao", "sources_560MHz.csv", "sdc-catalogues", lambda: source_catalogue(seed=560)),
    )


def _gamma_rays(dataset: str, stem: str, *, runs: int, right_ascension: float, declination: float) -> list[Sample]:
    def run(number: int) -> Callable[[], bytes]:
        return lambda: event_list(number, right_ascension, declination)

    lists = [Sample("cta", f"{stem}_run{number:04d}.fits", dataset, run(number)) for number in range(1, runs + 1)]
    return [*lists, Sample("cta", f"{stem}_skymap.png", dataset, lambda: sky_map(right_ascension, declination))]


def event_list(run: int, right_ascension: float, declination: float) -> bytes:
    """FITS, one EVENTS table: a point source over background, energies in TeV from a power law, times in seconds."""
    random = np.random.default_rng(run * 1000 + round(right_ascension))
    rows = CRAB_EVENTS
    from_source = random.random(rows) < 0.3
    width = np.where(from_source, 0.06, 1.2)
    columns = [
        fits.Column("EVENT_ID", "J", array=np.arange(rows, dtype=np.int32)),
        fits.Column("TIME", "D", unit="s", array=np.sort(random.uniform(0, 1680, rows))),
        fits.Column("RA", "E", unit="deg", array=right_ascension + random.normal(0, width)),
        fits.Column("DEC", "E", unit="deg", array=declination + random.normal(0, width)),
        fits.Column("ENERGY", "E", unit="TeV", array=0.1 * (1 - random.random(rows)) ** (-1 / 1.6)),
    ]
    table = fits.BinTableHDU.from_columns(columns, name="EVENTS")
    table.header["OBS_ID"] = run
    table.header["RA_OBJ"], table.header["DEC_OBJ"] = right_ascension, declination
    table.header["LIVETIME"] = (1680.0, "s")
    return _written(fits.HDUList([fits.PrimaryHDU(), table]))


def dimuons(seed: int, rows: int) -> bytes:
    """CSV of muon pairs: transverse momenta in GeV, and the pair's mass with the J/psi, the Upsilon and the Z in it."""
    random = np.random.default_rng(seed)
    peaks = np.array([[3.097, 0.04], [9.460, 0.10], [91.19, 2.7]])
    kind = random.choice(4, rows, p=[0.12, 0.06, 0.22, 0.6])
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["run", "event", "pt1", "eta1", "phi1", "pt2", "eta2", "phi2", "mass"])
    for event in range(rows):
        index = kind[event]
        mass = random.normal(*peaks[index]) if index < 3 else 2 + random.exponential(28)
        muons = [
            value
            for _ in range(2)
            for value in (random.exponential(18) + 3, random.uniform(-2.4, 2.4), random.uniform(-math.pi, math.pi))
        ]
        writer.writerow([190000 + seed, event, *(f"{value:.4f}" for value in muons), f"{abs(mass):.4f}"])
    return text.getvalue().encode()


def radio_image(seed: int, pixels: int = 384) -> bytes:
    """FITS, one 32-bit image in Jy/beam: point sources in noise."""
    random = np.random.default_rng(seed)
    image = random.normal(0, 2e-6, (pixels, pixels))
    y, x = np.mgrid[0:pixels, 0:pixels]
    for x0, y0, flux in _sources(seed, pixels):
        image += flux * np.exp(-((x - x0) ** 2 + (y - y0) ** 2) / (2 * 2.5**2))
    hdu = fits.PrimaryHDU(image.astype(np.float32))
    hdu.header["BUNIT"] = "JY/BEAM"
    hdu.header["CTYPE1"], hdu.header["CTYPE2"] = "RA---SIN", "DEC--SIN"
    hdu.header["CRVAL1"], hdu.header["CRVAL2"] = 150.0, -30.0
    hdu.header["CRPIX1"] = hdu.header["CRPIX2"] = pixels / 2
    hdu.header["CDELT1"], hdu.header["CDELT2"] = -1.7e-4, 1.7e-4
    return _written(fits.HDUList([hdu]))


def source_catalogue(seed: int, pixels: int = 384) -> bytes:
    """CSV of the sources in `radio_image` of the same seed: pixel position and flux in Jy."""
    lines = [f"{number},{x:.2f},{y:.2f},{flux:.3e}" for number, (x, y, flux) in enumerate(_sources(seed, pixels), 1)]
    return "\n".join(["id,x,y,flux_jy", *lines, ""]).encode()


def _sources(seed: int, pixels: int) -> list[tuple[float, float, float]]:
    random = np.random.default_rng(seed + 1)
    return [(*random.uniform(8, pixels - 8, 2), 2e-5 * (1 + random.pareto(1.8))) for _ in range(90)]


def preview(image: bytes) -> bytes:
    """PNG of a FITS image, brighter than its noise."""
    with fits.open(io.BytesIO(image)) as opened:
        data = np.array(opened[0].data, dtype=np.float64)
    return _png(np.arcsinh(np.clip(data, 0, None) / 5e-6))


def sky_map(right_ascension: float, declination: float, bins: int = 256) -> bytes:
    """PNG: counts of the three runs' events, two degrees around the target."""
    counts = np.zeros((bins, bins))
    for run in (1, 2, 3):
        with fits.open(io.BytesIO(event_list(run, right_ascension, declination))) as opened:
            events = opened["EVENTS"].data
            offsets = events["DEC"] - declination, events["RA"] - right_ascension
        counts += np.histogram2d(*offsets, bins=bins, range=[[-2, 2], [-2, 2]])[0]
    return _png(np.sqrt(counts))


def _png(values: np.ndarray) -> bytes:
    top = float(values.max()) or 1.0
    data = io.BytesIO()
    Image.fromarray((255 * values / top).astype(np.uint8)).resize((512, 512)).save(data, "PNG")
    return data.getvalue()


def _written(hdus: fits.HDUList) -> bytes:
    data = io.BytesIO()
    hdus.writeto(data, checksum=False)
    return data.getvalue()
