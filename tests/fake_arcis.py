"""Stands in for ARCiS: its input rules, command line, grid file and output folders.

It shares no code with the adapter. Each model's spectrum is a polynomial in the wavelength whose
coefficients are the parameters. FAKE_ARCIS names a misbehaviour, which models of Rp > 1.9 show.
"""

import os
import signal
import sys
import time


def settings(lines):
    for line in lines:
        if line[:1] not in ("*", "#", " ", "", "\n"):
            key, _, value = line.rstrip("\n").partition("=")
            if value[:1] in "\"'":
                value = value[1:-1]
            yield key.rstrip().lower(), value


def observed(path):
    for line in open(path):
        if not line.strip():
            continue  # in the middle of a file, ARCiS would take the row before it twice
        try:
            yield [float(field.replace("d", "e")) for field in line.split()[:3]]
        except ValueError:
            continue


def main():
    arguments = sys.argv[2:]
    with open(sys.argv[1]) as file:
        pairs = list(settings(file))
    while arguments:
        flag, value, *arguments = arguments
        if flag == "-o":
            output = value
        elif flag == "-s":
            pairs += settings([value])
    keys = dict(pairs)
    assert keys["makeai"] == ".true.", "ARCiS would start a retrieval"
    fault = os.environ.get("FAKE_ARCIS", "")
    logarithmic, names = [], []
    for key, value in pairs:
        if key in ("fitpar:keyword", "retpar:parameter"):
            names.append(value)
            logarithmic.append(False)
        elif key in ("fitpar:log", "retpar:logscale"):
            logarithmic[-1] = value.strip(".")[0].lower() == "t"
    files = [value for key, value in sorted(pairs) if key.startswith("obs") and ":file" in key]
    observations = [list(observed(file)) for file in files]
    print("threads", os.environ["OMP_NUM_THREADS"])
    if fault == "silent":
        return
    if fault == "unknown keyword":
        print("Keyword not recognised: foo")
        return

    os.makedirs(output)
    before = None
    for number, line in enumerate(open(keys["parametergridfile"]), start=1):
        values = [10 ** float(x) if log else float(x)
                  for x, log in zip(line.split(), logarithmic, strict=True)]  # fmt: skip
        bad = values[names.index("Rp")] > 1.9
        if bad and fault == "no folder":
            continue
        model = f"{output}/model{number:06d}"
        os.makedirs(model, exist_ok=True)
        if os.path.exists(f"{model}/parameters"):
            continue  # ARCiS passes over what is there
        open(f"{model}/parameters", "w").close()
        if bad and fault == "crash":
            print("forrtl: severe (174)", file=sys.stderr, flush=True)
            os.kill(os.getpid(), signal.SIGSEGV)
        if bad and fault == "exit":
            sys.exit(3)
        if bad and fault == "hang":
            time.sleep(60)
        spectra = [
            [sum(c * row[0] ** k for k, c in enumerate(values)) for row in rows]
            for rows in observations
        ]
        if bad and fault == "failed model":
            spectra = before or spectra  # and no mixingratios.dat, as ARCiS does it
        else:
            open(f"{model}/mixingratios.dat", "w").close()
        before = spectra
        for i, (rows, spectrum) in enumerate(zip(observations, spectra, strict=True), start=1):
            if bad and fault == "no obs002" and i == 2:
                continue
            with open(f"{model}/obs{i:03d}", "w") as file:
                pairs_ = list(zip(rows, spectrum, strict=True))
                for (x, y, dy), flux in pairs_[: -1 if bad and fault == "short" else None]:
                    flux = float("nan") if bad and fault == "nan" else flux
                    x = x + 1 if bad and fault == "shifted" else x
                    last = f" {flux!r} {y!r} {dy!r}" if not (bad and fault == "columns") else ""
                    file.write(f"  {x!r}{last}\n")


if __name__ == "__main__":
    main()
