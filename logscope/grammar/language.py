"""The template language, read with pyparsing.

    text          literal; {{ and }} stand for braces
    {name:type}   a typed field, also {name:type(argument|argument)}
    {name:group( ... )}   a text field around others: all that its inside matches
    {@macro}      a named piece of template
    {[ ... ]}     an optional part
    {( a {|} b )} ordered alternatives

No blank is added or ignored anywhere. `]}` and `)}` close a part when an odd number of braces follows the
bracket; an even number is literal braces.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import pyparsing as pp

from logscope.grammar.errors import TemplateError
from logscope.grammar.syntax import Choice, Field, Group, Literal, Macro, Sequence

_CLOSER = r"[\])]\}(?:\}\})*(?!\})"
_LITERAL = rf"(?:\{{\{{|\}}\}}|(?!{_CLOSER})[^{{}}])+"
_ARGUMENTS = r"(?:(?!\)\}).)*(?=\)\})"


def parse(text: str) -> Sequence:
    """Read one template or macro.

    Raises:
        TemplateError: the text is not a template; column and expectation are in the error.
    """
    try:
        nodes: list[Any] = _language().parse_string(text, parse_all=True).as_list()
    except pp.ParseBaseException as error:
        raise TemplateError(_advice(error), text, error.column) from None
    except RecursionError:
        raise TemplateError("parts nest too deeply", text, 1) from None
    return tuple(nodes)


def _advice(error: pp.ParseBaseException) -> str:
    found = error.pstr[error.loc : error.loc + 12]
    wanted = error.msg.removeprefix("Expected ").removeprefix(", ")
    if "end of text" not in wanted:
        return (
            f"expected {wanted}, found {found!r}"
            if found
            else f"expected {wanted}, found the end of the template"
        )
    if found.startswith(("]}", ")}")):
        return (
            f"{found[:2]!r} closes a part that was not opened; open it with {{[ or {{(, or double the brace"
        )
    if found.startswith("{|}"):
        return "'{|}' separates alternatives and belongs between {( and )}"
    if found.startswith("}"):
        return "a single '}' means nothing here; write }} for a literal brace"
    if found.startswith("{"):
        return "expected a field {name:type}, a part {[ or {(, a macro {@, or {{ for a literal brace"
    return f"expected the end of the template, found {found!r}"


@cache
def _language() -> pp.ParserElement:
    blanks = pp.ParserElement.DEFAULT_WHITE_CHARS
    # leave_whitespace() on the finished grammar does not reach through a Forward: no element may skip from
    # the start.
    pp.ParserElement.set_default_whitespace_chars("")
    try:
        return _build().parse_with_tabs()
    finally:
        pp.ParserElement.set_default_whitespace_chars(blanks)


def _build() -> pp.ParserElement:
    name = pp.Regex(r"[a-z][a-z0-9_]*").set_name("a name in snake case")
    type_name = pp.Regex(r"[a-z][a-z0-9_]*").set_name("a field type")
    arguments = (
        pp.Literal("(").suppress() - pp.Regex(_ARGUMENTS).set_name("arguments up to ')}'") - pp.Literal(")")
    )
    close = pp.Literal("}").suppress().set_name("'}'")
    sequence = pp.Forward()

    literal = pp.Regex(_LITERAL).set_parse_action(_literal)
    field = pp.Regex(r"\{(?=[A-Za-z_0-9])").suppress() - name - pp.Literal(":").suppress() - type_name
    field = (field - pp.Optional(arguments) - close).set_parse_action(_field)
    macro = (pp.Literal("{@").suppress() - name - close).set_parse_action(_macro)
    optional = pp.Literal("{[").suppress() - sequence - pp.Literal("]}").suppress().set_name("']}'")
    optional.set_parse_action(_optional)
    alternative = pp.Group(sequence, aslist=True)
    choice = pp.Literal("{(").suppress() - alternative
    choice = choice - pp.ZeroOrMore(pp.Literal("{|}").suppress() - alternative)
    choice = (choice - pp.Literal(")}").suppress().set_name("'{|}' or ')}'")).set_parse_action(_choice)

    group = (
        pp.Regex(r"\{(?=[a-z0-9_]+:group\()").suppress()
        + name
        + pp.Literal(":group(").suppress()
        - alternative
    )
    group = (group - pp.Literal(")}").suppress().set_name("')}'")).set_parse_action(_group)
    node = literal | macro | optional | choice | group | field
    sequence <<= pp.ZeroOrMore(node)
    return sequence


def _literal(tokens: pp.ParseResults) -> Literal:
    return Literal(tokens[0].replace("{{", "{").replace("}}", "}").encode())


def _field(_text: str, location: int, tokens: pp.ParseResults) -> Field:
    arguments = tuple(tokens[2].split("|")) if len(tokens) > 2 else ()
    return Field(tokens[0], tokens[1], arguments, location + 1)


def _group(_text: str, location: int, tokens: pp.ParseResults) -> Group:
    return Group(tokens[0], tuple(tokens[1]), location + 1)


def _macro(_text: str, location: int, tokens: pp.ParseResults) -> Macro:
    return Macro(tokens[0], location + 1)


def _optional(tokens: pp.ParseResults) -> Choice:
    return Choice((tuple(tokens), ()))


def _choice(tokens: pp.ParseResults) -> Choice:
    return Choice(tuple(tuple(alternative) for alternative in tokens))
