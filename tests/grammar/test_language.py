"""The template language: what it reads, and what it says about what it cannot read."""

from __future__ import annotations

import pytest

from logscope.errors import GrammarError
from logscope.grammar.errors import TemplateError
from logscope.grammar.language import parse
from logscope.grammar.prepare import prepare
from logscope.grammar.syntax import Choice, Field, Group, Literal, Macro, expand, fields

from .conftest import make_catalogue


def test_literals_keep_every_blank_and_doubled_braces() -> None:
    assert parse(" a \t{{b}} ") == (Literal(b" a \t{b} "),)


def test_field_with_arguments() -> None:
    assert parse("x{action:enum(a b|c)}") == (Literal(b"x"), Field("action", "enum", ("a b", "c"), 2))


def test_optional_part_is_a_choice_with_an_empty_alternative() -> None:
    assert parse("{[ a]}") == (Choice(((Literal(b" a"),), ())),)


def test_choice_keeps_blanks_and_empty_alternatives() -> None:
    assert parse("{( a{|}b {|})}") == (Choice(((Literal(b" a"),), (Literal(b"b "),), ())),)


@pytest.mark.parametrize(
    ("text", "literal"),
    [("{[[{a:ip}]]}", b"]"), ("{[({a:ip})]}", b")"), ("[{a:ip}]}}", b"]}"), ("{[{a:ip}]}}}", b"}")],
)
def test_brackets_beside_braces(text: str, literal: bytes) -> None:
    """`]}` closes a part when an odd number of braces follows the bracket, else they are literal."""
    nodes = parse(text)
    inner = nodes[0].alternatives[0] if isinstance(nodes[0], Choice) and len(nodes) == 1 else nodes
    assert inner[-1] == Literal(literal)


def test_group_holds_fields() -> None:
    group = Group("reply", (Literal(b"as "), Field("queue_id", "queue_id", (), 18)), 2)
    assert parse("({reply:group(as {queue_id:queue_id})})") == (Literal(b"("), group, Literal(b")"))


def test_macros_are_expanded_and_neighbours_joined() -> None:
    nodes = expand(parse("a{@m}c"), {"m": parse("b{@n}"), "n": parse("!")})
    assert nodes == (Literal(b"ab!c"),)


@pytest.mark.parametrize(
    ("text", "column", "words"),
    [
        ("{5}", 2, "a name in snake case"),
        ("{a", 3, "':'"),
        ("{a:}", 4, "a field type"),
        ("a{[b", 5, "']}'"),
        ("a]}", 2, "closes a part that was not opened"),
        ("{(a{|}b", 8, "'{|}' or ')}'"),
        ("a{|}b", 2, "separates alternatives"),
        ("x}y", 2, "}} for a literal brace"),
        ("a{?}", 2, "{{ for a literal brace"),
        ("{a:enum(b}", 9, "')}'"),
    ],
)
def test_errors_name_the_column_and_what_was_expected(text: str, column: int, words: str) -> None:
    with pytest.raises(TemplateError) as caught:
        parse(text)
    assert caught.value.column == column
    assert words in caught.value.problem


def test_error_in_a_grammar_names_file_and_kind() -> None:
    with pytest.raises(GrammarError) as caught:
        make_catalogue("a{b")
    assert str(caught.value).startswith("test: smtpd.t0: column 4: expected ':'")
    assert caught.value.hint == "a{b\n   ^"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{a:text}{b:text}", "cannot know where it ends"),
        ("{a:word}{[{b:uint}]}", "cannot know where it ends"),
        ("{a:nonsense}", "unknown field type"),
        ("{a:uint(last)}", "does not take"),
        ("{a:time(sundial)}", "unknown time format"),
        ("{a:uint} {a:uint}", "twice"),
        ("{a:uint}{[ {b:group(x{a:uint})}]}", "twice"),
        ("{[{a:text(retry)}x]}y", "outside of optional parts"),
        ("{@nothing}", "unknown macro"),
        ("{a:enum}", "needs arguments"),
        ("{a:flag(x|y)}", "one argument"),
    ],
)
def test_templates_that_mean_nothing(text: str, words: str) -> None:
    with pytest.raises(GrammarError, match=words):
        make_catalogue(text)


def test_a_field_name_has_one_kind_of_value() -> None:
    with pytest.raises(GrammarError, match=r"a is text \(text\) here, but uint \(integer\)"):
        make_catalogue("x{a:uint}", "y{a:text}")


def test_macro_that_refers_to_itself() -> None:
    with pytest.raises(TemplateError, match="refers to itself"):
        expand(parse("{@m}"), {"m": parse("a{@n}"), "n": parse("{@m}")})


def test_field_may_stand_in_several_alternatives() -> None:
    nodes = parse("{(a{x:uint}{|}b{x:uint})}")
    assert [field.name for field in fields(nodes)] == ["x", "x"]
    assert len(prepare(nodes, {"x": 0})) == 1


def test_macro_node() -> None:
    assert parse("{@client}") == (Macro("client", 1),)
