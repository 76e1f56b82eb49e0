#!/usr/bin/env python3
"""A toy that stands for any executable: a haze that scatters as small particles do."""

import math
import sys

with open(sys.argv[1]) as file:
    settings = {key.strip(): float(value) for key, value in (line.split("=") for line in file)}
with open("wasp39b_prism.csv") as file:
    wavelengths = [float(line.split(",")[0]) for line in file if not line.startswith("#")]
scale_height = 1.380649e-23 * settings["temperature"] / (2.33 * 1.66054e-27 * 4.26)  # [m]
with open("spectrum.txt", "w") as out:
    for wavelength in wavelengths:
        height = scale_height * math.log(1 + settings["haze"] * wavelength**-4)
        depth = ((settings["radius"] * 7.1492e7 + height) / (0.932 * 6.957e8)) ** 2
        out.write(f"{wavelength} {depth}\n")
