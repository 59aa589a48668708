"""What all units have in common."""

from support.engine.analyses import QUICK, analysed

from worker.engine.selection.units.base import Unit


class Layers(Unit):
    """The layers of a model."""

    def total(self, opened, sites):
        return len(sites)

    def cost(self, site, candidate):
        return 2 if candidate.factorisation else 1

    def measured(self, opened):
        return None

    def text(self, amount):
        return f"{amount} layers"

    def reported(self, amount):
        return {"layers": amount}


class LayersThatRun(Layers):
    """The same along each path."""

    depends_on_path = True


def test_a_cost_is_one_or_one_for_each_path():
    (site,) = analysed(QUICK, paths=(1000, 500, 0)).sites
    assert Layers().costs(site, QUICK) == (2,)
    assert LayersThatRun().costs(site, QUICK) == (2, 1, 0)


def test_the_file_that_was_sent_costs_the_total():
    assert Layers().posted(None, 5) == 5
