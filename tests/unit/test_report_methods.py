"""Order, colours and places of the methods on the page."""

from __future__ import annotations

from cleave.report.methods import Family, arrange, expanded, method_colours, ordered

FAMILY = Family("a", ("a",), "m", 2)


def test_each_method_is_told_once_and_found_everywhere():
    summary = {
        "methods": {"m": {"of": "m", "kind": "maskcut"}},
        "datasets": {"d": {"shards": 2, "masks": ["m"]}, "e": {"shards": 1, "masks": []}},
        "benchmarks": {"b": {"dataset": "d", "methods": ["m"], "baselines": ["centre_box"]}},
    }
    found = expanded(summary)
    assert found["datasets"]["d"] == {"shards": 2, "masks": {"m": summary["methods"]["m"]}}
    assert found["datasets"]["e"]["masks"] == {}
    rows = [summary["methods"]["m"], {"of": "centre_box", "baseline": True}]
    assert found["benchmarks"]["b"] == {"dataset": "d", "rows": rows}


def test_rounds_of_a_recipe_stand_together_where_the_first_is_listed():
    masks = masks_of("m", "b.round0", "b.round1", "a.round0", "a.round10", "a.round2")
    rows = {of: {**row, "kind": "k", "masks": "m"} for of, row in masks.items()}
    listed = [rows["b.round1"], rows["m"], rows["a.round2"]]
    summary = {"datasets": {"d": {"masks": rows}}, "benchmarks": {"x": {"rows": listed}}}
    found = list(ordered(summary)["datasets"]["d"]["masks"])
    assert found == ["b.round0", "b.round1", "m", "a.round0", "a.round2", "a.round10"]


def masks_of(*names: str) -> dict[str, dict]:
    def row(name: str) -> dict:
        recipe, _, number = name.partition(".round")
        return {"of": name} | ({"recipe": recipe, "round": int(number)} if number else {})

    return {name: row(name) for name in names}


def rounds_of(family: Family) -> list[str]:
    return list(family.methods)


def test_few_pictures_stand_in_one_row():
    layout = arrange(masks_of("m", *rounds_of(FAMILY)), [FAMILY])
    assert layout.rows == (("m", "a.round0", "a.round1"),)
    assert layout.left_out == ""


def test_detectors_stand_below_what_they_learned_from():
    families = [Family(f"r{m}", (f"r{m}", f"s{m}"), m, 3) for m in "abc"]
    several = [of for family in families for of in rounds_of(family)]
    layout = arrange(masks_of(*"abc", *several), families)
    assert layout.aligned
    assert layout.rows[0] == ("a", "b", "c")
    assert layout.rows[1:] == tuple(tuple(f"r{m}.round{n}" for m in "abc") for n in range(3))
    assert layout.left_out.startswith("Of recipes that differ by their seed")


def test_of_many_recipes_the_last_rounds_are_shown():
    families = [Family(f"r{i}", (f"r{i}",), "m", 2) for i in range(20)]
    layout = arrange(masks_of("m", *[of for f in families for of in rounds_of(f)]), families)
    assert layout.rows == (("m",), tuple(f"r{i}.round1" for i in range(20)))
    assert layout.left_out == "Of each recipe only the last round is shown."


def test_columns_of_recipes_that_began_with_the_same_masks():
    families = [Family(f"r{i}", (f"r{i}",), "m", i + 1) for i in range(4)]
    layout = arrange(masks_of("m", *[of for f in families for of in rounds_of(f)]), families)
    assert not layout.aligned
    assert layout.rows[0] == ("m",)
    assert layout.rows[1] == ("r0.round0", "r1.round0", "r2.round0", "r3.round0")
    assert layout.rows[4] == (None, None, None, "r3.round3")


def test_a_family_has_the_colour_of_its_pseudo_masks_unless_it_is_taken():
    masks = masks_of("m", "n", "a.round0", "b.round0")
    summary = {"datasets": {"d": {"masks": masks}}, "benchmarks": {}}
    families = [Family("a", ("a",), "m", 1), Family("b", ("b",), "m", 1)]
    colours = method_colours(summary, families)
    assert colours["a.round0"] == colours["m"]
    assert colours["b.round0"] not in (colours["m"], colours["n"])
