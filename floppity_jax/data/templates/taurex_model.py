"""A forward model of WASP-39 b: set the two paths, and change what you like."""


def build():
    """Make the model, once in each worker."""
    from taurex.cache import CIACache, OpacityCache
    from taurex.chemistry import ConstantGas, TaurexChemistry
    from taurex.contributions import AbsorptionContribution, CIAContribution, RayleighContribution
    from taurex.model import TransmissionModel
    from taurex.planet import Planet
    from taurex.stellar import BlackbodyStar
    from taurex.temperature import Isothermal

    OpacityCache().set_opacity_path("/data/xsec")
    CIACache().set_cia_path("/data/cia")
    chemistry = TaurexChemistry(fill_gases=["H2", "He"], ratio=0.17)
    chemistry.addGas(ConstantGas("H2O", mix_ratio=1e-4))
    model = TransmissionModel(
        planet=Planet(planet_mass=0.28, planet_radius=1.27),
        star=BlackbodyStar(radius=0.932),
        temperature_profile=Isothermal(T=1100),
        chemistry=chemistry,
        nlayers=100,
        atm_min_pressure=1e-3,
        atm_max_pressure=1e6,
    )
    model.add_contribution(AbsorptionContribution())
    model.add_contribution(CIAContribution(cia_pairs=["H2-H2", "H2-He"]))
    model.add_contribution(RayleighContribution())
    return model
