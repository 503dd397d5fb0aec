"""Relaxation times and proton densities of the tissue channels at 1.5 and 3 tesla.

Where a number comes from, per channel ("ours" marks a rounded choice of our own):

- csf, grey_matter, white_matter, lesion at 1.5 T: the BrainWeb phantom's table (Kwan, Evans and
  Pike 1999, IEEE TMI 18:1085); "lesion" is its multiple-sclerosis lesion. Proton densities, which
  no field changes, serve at 3 T too.
- grey_matter, white_matter at 3 T: T1 1331 and 832 ms, measured in vivo (Wansapura et al. 1999,
  JMRI 9:531). T2: 0.85 of the 1.5 T value, within the 12 to 19 % by which T2 is shorter in the
  same people at 3 T (Lu et al. 2005, JMRI 22:13).
- csf at 3 T: T1 4000 ms ours, T2 as at 1.5 T. Fluid's T1 hardly depends on the field in the
  literature; the gap to BrainWeb's 2569 ms is one between sources.
- lesion at 3 T: ours, T1 in its 1.5 T ratio to white matter, T2 by 0.85 as above.
- oedema, enhancing (before contrast agent): T1 at 3 T rounded from peritumoural white matter,
  1261 +- 359 ms, and solid tumour, 1444 +- 254 ms, in children and young adults (de Blank et al.
  2019, Pediatr Neurosurg 54:310, MR fingerprinting). The rest ours: T1 at 1.5 T is 1/1.25 of it
  (Lu et al. 2005: 14 to 30 % longer at 3 T), T2 two and a half and one and a half times that of
  white matter, proton density.
- blood: T1 1580 and 1660 ms in people (Sharma et al. 2006, JMRI 23:323); T2 275 ms at 3 T and
  similar at 1.5 T (Stanisz et al. 2005, MRM 54:507); density ours. It is imaged as if it stood
  still: the void that fast flow leaves in a spin echo is not simulated.
- haematoma: acute, deoxyhaemoglobin in intact cells shortens T2, the more at the higher field, and
  hardly touches T1 (Gomori et al. 1985, Radiology 157:87): figures ours.
- skull: cortical bone, T1 140 to 260 ms, T2* 0.4 to 0.5 ms and a fifth of its volume water (Ma et
  al. 2020, Front Endocrinol 11:567417, for the water): silent at any echo time used here. Marrow of
  the diploe is fat: the anatomy counts it as scalp. calcification: as bone, with less water; ours.
- scalp: as subcutaneous fat, 288/165 and 371/133 ms (Gold et al. 2004, AJR 183:343), density of
  BrainWeb's fat. Skin and muscle are left out.

The T1 of white and grey matter differs between the two columns by 60 to 66 %, where the same people
measured at both fields show 14 to 30 %: half of the step is one between laboratories. Bojorquez et
al. (2017, MRI 35:69) find white matter's T1 at 3 T reported anywhere from 699 to 1735 ms.
"""

from __future__ import annotations

#: tissue -> (T1 ms, T2 ms, proton density relative to fluid)
Relaxation = dict[str, tuple[float, float, float]]

RELAXATION_1_5T: Relaxation = {
    "csf": (2569.0, 329.0, 1.00),
    "grey_matter": (833.0, 83.0, 0.86),
    "white_matter": (500.0, 70.0, 0.77),
    "lesion": (752.0, 237.0, 0.76),
    "oedema": (1000.0, 175.0, 0.86),
    "enhancing": (1160.0, 105.0, 0.86),
    "blood": (1580.0, 275.0, 0.85),
    "haematoma": (1200.0, 45.0, 0.80),
    "calcification": (200.0, 0.5, 0.10),
    "skull": (200.0, 0.5, 0.20),
    "scalp": (288.0, 165.0, 1.00),
}

RELAXATION_3T: Relaxation = {
    "csf": (4000.0, 329.0, 1.00),
    "grey_matter": (1331.0, 70.0, 0.86),
    "white_matter": (832.0, 60.0, 0.77),
    "lesion": (1250.0, 200.0, 0.76),
    "oedema": (1250.0, 150.0, 0.86),
    "enhancing": (1450.0, 90.0, 0.86),
    "blood": (1660.0, 275.0, 0.85),
    "haematoma": (1400.0, 25.0, 0.80),
    "calcification": (200.0, 0.5, 0.10),
    "skull": (200.0, 0.5, 0.20),
    "scalp": (371.0, 133.0, 1.00),
}

#: field strength in tesla -> table
RELAXATION: dict[float, Relaxation] = {1.5: RELAXATION_1_5T, 3.0: RELAXATION_3T}

#: longitudinal relaxivity of gadobutrol in human plasma at 37 degrees, l / (mmol s)
#: (Szomolanyi et al. 2019, Invest Radiol 54:559)
RELAXIVITY: dict[float, float] = {1.5: 4.78, 3.0: 4.97}
#: channels that a contrast agent reaches: no barrier keeps it out of a vessel or of these lesions
TAKES_UP_CONTRAST = ("enhancing", "blood")


def relaxation(field_t: float) -> Relaxation:
    """The table of a field strength in tesla; only 1.5 and 3 are tabulated."""
    if field_t not in RELAXATION:
        raise ValueError(
            f"field_t is {field_t}; relaxation times are tabulated at "
            f"{' and '.join(str(f) for f in RELAXATION)} tesla: choose one of these"
        )
    return RELAXATION[field_t]


def t1_with_contrast_ms(tissue: str, field_t: float, concentration_mmol):
    """T1 in ms at a concentration of contrast agent in mmol/l: 1/T1 = 1/T1_0 + r1 C.

    The agent's effect on T2 is left out: at 0.5 mmol/l and TE = 15 ms it is a few per cent.
    concentration_mmol: float or 0-d tensor; channels outside TAKES_UP_CONTRAST ignore it.
    """
    t1_0 = relaxation(field_t)[tissue][0]
    if tissue not in TAKES_UP_CONTRAST:
        return t1_0
    return 1 / (1 / t1_0 + RELAXIVITY[field_t] / 1000 * concentration_mmol)
