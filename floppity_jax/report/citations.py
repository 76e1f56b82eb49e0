"""What a run used, as BibTeX."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import xarray


class Citation(NamedTuple):
    """A work, and what the run used it for.

    Attributes
    ----------
    used_for : str
        In a few words.
    kind, key : str
        Of the BibTeX entry.
    fields : dict of str to str
        Of the BibTeX entry, in LaTeX.
    """

    used_for: str
    kind: str
    key: str
    fields: dict[str, str]

    @property
    def bibtex(self) -> str:
        """The entry, under a line that says what it was used for."""
        fields = ",\n".join(f"  {name} = {{{value}}}" for name, value in self.fields.items())
        return f"% {self.used_for}\n@{self.kind}{{{self.key},\n{fields}\n}}"


FLOPPITY = Citation("the method", "article", "ArdevolMartinez2024", {
    "author": r"Ard{\'e}vol Mart{\'i}nez, Francisco and Min, Michiel and Huppenkothen, Daniela and "
              "Kamp, Inga and Palmer, Paul I.",
    "title": "{FlopPITy}: Enabling self-consistent exoplanet atmospheric retrievals with machine "
             "learning",
    "journal": r"Astronomy \& Astrophysics",
    "volume": "681",
    "pages": "L14",
    "year": "2024",
    "doi": "10.1051/0004-6361/202348367",
})  # fmt: skip
APT = Citation("method = apt: the atomic loss", "inproceedings", "Greenberg2019", {
    "author": "Greenberg, David S. and Nonnenmacher, Marcel and Macke, Jakob H.",
    "title": "Automatic posterior transformation for likelihood-free inference",
    "booktitle": "Proceedings of the 36th International Conference on Machine Learning",
    "pages": "2404--2414",
    "year": "2019",
    "eprint": "1905.07488",
    "archiveprefix": "arXiv",
})  # fmt: skip
TRUNCATED = Citation("method = truncated: truncated proposals", "inproceedings", "Deistler2022", {
    "author": r"Deistler, Michael and Gon{\c{c}}alves, Pedro J. and Macke, Jakob H.",
    "title": "Truncated proposals for scalable and hassle-free simulation-based inference",
    "booktitle": "Advances in Neural Information Processing Systems",
    "volume": "35",
    "year": "2022",
    "eprint": "2210.04815",
    "archiveprefix": "arXiv",
})  # fmt: skip
SPLINES = Citation("the flow", "inproceedings", "Durkan2019", {
    "author": "Durkan, Conor and Bekasov, Artur and Murray, Iain and Papamakarios, George",
    "title": "Neural spline flows",
    "booktitle": "Advances in Neural Information Processing Systems",
    "volume": "32",
    "year": "2019",
    "eprint": "1906.04032",
    "archiveprefix": "arXiv",
})  # fmt: skip
AMIS = Citation("adaptive importance sampling", "article", "Cornuet2012", {
    "author": "Cornuet, Jean-Marie and Marin, Jean-Michel and Mira, Antonietta and Robert, "
              "Christian P.",
    "title": "Adaptive Multiple Importance Sampling",
    "journal": "Scandinavian Journal of Statistics",
    "volume": "39",
    "pages": "798--812",
    "year": "2012",
    "doi": "10.1111/j.1467-9469.2011.00756.x",
})  # fmt: skip
PSIS = Citation("smoothing and diagnosis of the weights", "article", "Vehtari2024", {
    "author": "Vehtari, Aki and Simpson, Daniel and Gelman, Andrew and Yao, Yuling and Gabry, "
              "Jonah",
    "title": "Pareto Smoothed Importance Sampling",
    "journal": "Journal of Machine Learning Research",
    "volume": "25",
    "number": "72",
    "pages": "1--58",
    "year": "2024",
    "url": "https://jmlr.org/papers/v25/19-556.html",
})  # fmt: skip
MIXTURE = Citation("evidence from the simulations of the rounds", "article", "Owen2000", {
    "author": "Owen, Art and Zhou, Yi",
    "title": "Safe and Effective Importance Sampling",
    "journal": "Journal of the American Statistical Association",
    "volume": "95",
    "number": "449",
    "pages": "135--143",
    "year": "2000",
    "doi": "10.1080/01621459.2000.10473909",
})  # fmt: skip
P_VALUE = Citation("posterior predictive p-value", "article", "Gelman1996", {
    "author": "Gelman, Andrew and Meng, Xiao-Li and Stern, Hal",
    "title": "Posterior predictive assessment of model fitness via realized discrepancies",
    "journal": "Statistica Sinica",
    "volume": "6",
    "number": "4",
    "pages": "733--760",
    "year": "1996",
})  # fmt: skip
JAX = Citation("arrays, derivatives and compilation", "software", "jax2018github", {
    "author": "James Bradbury and Roy Frostig and Peter Hawkins and Matthew James Johnson and "
              "Chris Leary and Dougal Maclaurin and George Necula and Adam Paszke and "
              "Jake Vander{P}las and Skye Wanderman-{M}ilne and Qiao Zhang",
    "title": "{JAX}: composable transformations of {P}ython+{N}um{P}y programs",
    "url": "http://github.com/jax-ml/jax",
    "year": "2018",
})  # fmt: skip
FLAX = Citation("neural networks", "software", "flax2020github", {
    "author": "Jonathan Heek and Anselm Levskaya and Avital Oliver and Marvin Ritter and "
              "Bertrand Rondepierre and Andreas Steiner and Marc van {Z}ee",
    "title": "{F}lax: A neural network library and ecosystem for {JAX}",
    "url": "http://github.com/google/flax",
    "year": "2020",
})  # fmt: skip
OPTAX = Citation("optimisers (Optax)", "software", "deepmind2020jax", {
    "author": "DeepMind and Babuschkin, Igor and Baumli, Kate and Bell, Alison and Bhupatiraju, "
              "Surya and Bruce, Jake and Buchlovsky, Peter and Budden, David and Cai, Trevor and "
              "Clark, Aidan and Danihelka, Ivo and Dedieu, Antoine and Fantacci, Claudio and "
              "Godwin, Jonathan and Jones, Chris and Hemsley, Ross and Hennigan, Tom and Hessel, "
              "Matteo and Hou, Shaobo and Kapturowski, Steven and Keck, Thomas and Kemaev, Iurii "
              "and King, Michael and Kunesch, Markus and Martens, Lena and Merzic, Hamza and "
              "Mikulik, Vladimir and Norman, Tamara and Papamakarios, George and Quan, John and "
              "Ring, Roman and Ruiz, Francisco and Sanchez, Alvaro and Sartran, Laurent and "
              "Schneider, Rosalia and Sezener, Eren and Spencer, Stephen and Srinivasan, Srivatsan "
              r"and Stanojevi\'{c}, Milo\v{s} and Stokowiec, Wojciech and Wang, Luyu and Zhou, "
              "Guangyao and Viola, Fabio",
    "title": "The {D}eep{M}ind {JAX} {E}cosystem",
    "url": "http://github.com/google-deepmind",
    "year": "2020",
})  # fmt: skip
ARVIZ = Citation("posteriors as DataTrees, and their statistics", "article", "Martin2026", {
    "author": "Martin, Osvaldo A. and Abril-Pla, Oriol and Deklerk, Jordan and Axen, Seth D. and "
              "Carroll, Colin and Hartikainen, Ari and Vehtari, Aki",
    "title": "{ArviZ}: a modular and flexible library for exploratory analysis of {B}ayesian "
             "models",
    "journal": "Journal of Open Source Software",
    "volume": "11",
    "number": "119",
    "pages": "9889",
    "year": "2026",
    "doi": "10.21105/joss.09889",
})  # fmt: skip


def citations(datatree: xarray.DataTree, versions: Mapping[str, str]) -> list[Citation]:
    """Return what the run that a DataTree tells of used.

    Parameters
    ----------
    datatree
        Of whose attributes some say what was done.
    versions
        Of the packages, by name, where they are known.
    """
    known = datatree.attrs
    if known.get("inference_library") != "floppity_jax":
        return [ARVIZ]
    found = [_software(str(known["inference_library_version"])), FLOPPITY]
    found += {"apt": [APT], "truncated": [TRUNCATED]}.get(known.get("method", ""), [])
    found.append(SPLINES)
    if "pareto_k" in known:
        found += [AMIS, PSIS]
    if "mixture_log_evidence" in known:
        found.append(MIXTURE)
    if "chi2_p_value" in known:
        found.append(P_VALUE)
    libraries = {"jax": JAX, "flax": FLAX, "optax": OPTAX, "arviz-base": ARVIZ}
    return found + [
        _with_version(citation, versions.get(name, "")) for name, citation in libraries.items()
    ]


def _software(version: str) -> Citation:
    fields = {
        "author": "{The floppity\\_jax developers}",
        "title": "{floppity\\_jax}: neural posterior estimation for exoplanet and brown-dwarf "
                 "spectra, in {JAX}",
        "version": version,
    }  # fmt: skip
    return Citation("this software", "software", "floppity_jax", fields)


def _with_version(citation: Citation, version: str) -> Citation:
    """Name the version of a program; an article has none."""
    if not version or citation.kind != "software" or citation is OPTAX:
        return citation
    return citation._replace(fields={**citation.fields, "version": version})
