"""From the text of a condition to its parts: a tokenizer and a recursive-descent parser that say where a fault is."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import NamedTuple, NoReturn

from microconv.conditions.nodes import And, Compare, In, IsNull, Not, Or
from microconv.conditions.operands import BARE, KEYWORDS, Column, Condition, Literal
from microconv.errors import PlanError, shorten

__all__ = ["MAX_DEPTH", "MAX_LENGTH", "parse"]

MAX_DEPTH = 50
MAX_LENGTH = 100_000

_TOKEN = re.compile(
    rf"""(?P<space>\s+)
    | (?P<number>[+-]?(?:[0-9]++\.?[0-9]*+|\.[0-9]++)(?:[eE][+-]?[0-9]++)?+(?![\w.]))
    | (?P<word>{BARE.pattern})
    | (?P<text>'(?:[^'\\]|''|\\.)*+'|"(?:[^"\\]|""|\\.)*+")
    | (?P<column>`(?:[^`]|``)++`)
    | (?P<wrong><=>|=>|=<|===|!==|&&|\|\||=~|!(?!=))
    | (?P<op><=|>=|<>|!=|==|=|<|>)
    | (?P<mark>[(),])""",
    re.VERBOSE | re.DOTALL,
)
_CANONICAL = {"==": "=", "<>": "!="}
_RIGHT = {
    "=>": ">=", "=<": "<=", "===": "=", "!==": "!=", "<=>": "=", "&&": "and", "||": "or", "!": "not", "=~": "=",
}  # fmt: skip
_STRAY = {
    **dict.fromkeys("‘’‚“”„«»", "Use straight quotes: ' or \"."),
    **dict.fromkeys("'\"", "The text that starts here is not closed; double a quote that belongs to it ('it''s')."),
    "`": "The column name that starts here is empty or not closed.",
    **dict.fromkeys("0123456789", "A number runs into other characters: quote text, put column names in backticks."),
    **dict.fromkeys("+-*/%", "There is no arithmetic; a column name with this character goes in backticks."),
    **dict.fromkeys("[]{}", "Lists are written in parentheses: in (1, 2)."),
    ";": "A condition is one expression.",
}  # fmt: skip
_UNESCAPED = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\", "'": "'", '"': '"'}
_HINTS = {
    "between": "There is no between: write {0} >= 1 and {0} <= 9.",
    "equals": "Write {0} = ...",
    "eq": "Write {0} = ...",
}


class _Token(NamedTuple):
    kind: str  # number, word, text, column, op, mark, end; of a fault, the text says what is wrong
    text: str
    start: int

    @property
    def keyword(self) -> str:
        folded = self.text.casefold()
        return folded if self.kind == "word" and folded in KEYWORDS else self.text if self.kind == "mark" else ""


def parse(text: str) -> Condition:
    """Parse a condition, see ``microconv.conditions`` for the language.

    Raises ``PlanError`` that shows where the fault is, for anything outside the language, more than 50 nested
    parentheses or more than 100,000 characters.
    """
    if not isinstance(text, str):
        raise PlanError(f"A condition must be text such as 'percent >= 75', got {shorten(repr(text))}.")
    if len(text) > MAX_LENGTH:
        raise PlanError(f"A condition of {len(text):,} characters is too long: at most {MAX_LENGTH:,} are allowed.")
    return _parse(text)


@lru_cache(maxsize=256)
def _parse(text: str) -> Condition:
    return _Parser(text).whole()


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = self.tokenize()
        self.position = 0
        self.depth = 0

    def fail(self, at: int, problem: str) -> NoReturn:
        """Say what is wrong at a character, and point at it."""
        before = self.text[:at].rpartition("\n")[2][-60:]
        line = before + self.text[at:].partition("\n")[0][:40]
        shown = "".join(c if c.isprintable() else " " for c in line)
        pad = " " * sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in before)
        raise PlanError(
            f"The condition {shorten(repr(self.text))} cannot be read at character {at + 1}: {problem}\n"
            f"    {shown}\n    {pad}^"
        )

    def tokenize(self) -> list[_Token]:
        """The words of the text up to its end or first fault, which is told when parsing gets there."""
        tokens: list[_Token] = []
        at = 0
        for i, character in enumerate(self.text):
            if character == "\0" or "\ud800" <= character <= "\udfff":
                self.fail(i, f"The character {character!a} cannot stand in text.")
        while at < len(self.text):
            found = _TOKEN.match(self.text, at)
            if found is None:
                stray = self.text[at]
                return [
                    *tokens,
                    _Token("fault", _STRAY.get(stray, f"The character {stray!r} has no meaning here."), at),
                ]
            kind = str(found.lastgroup)
            if kind == "wrong":
                problem = f"{found[0]!r} is not an operator. Did you mean {_RIGHT[found[0]]!r}?"
                return [*tokens, _Token("fault", problem, at)]
            if kind != "space":
                tokens.append(_Token(kind, found[0], at))
            at = found.end()
        return [*tokens, _Token("end", "", len(self.text))]

    @property
    def now(self) -> _Token:
        token = self.tokens[self.position]
        if token.kind == "fault":
            self.fail(token.start, token.text)
        return token

    def take(self) -> _Token:
        token = self.now
        self.position += token.kind != "end"
        return token

    def took(self, *words: str) -> bool:
        """Whether the next tokens are these key words or marks; if so they are used up."""
        following = self.tokens[self.position : self.position + len(words)]
        if [token.keyword for token in following] != list(words):
            return False
        self.position += len(words)
        return True

    def whole(self) -> Condition:
        if self.now.kind == "end":
            self.fail(0, "It is empty. Leave `where` out when every event counts.")
        condition = self.either()
        token = self.now
        if token.kind == "op" and isinstance(condition, Compare):
            self.fail(token.start, "Comparisons do not chain: write 1 < x and x < 5.")
        if token.keyword == ")":
            self.fail(token.start, "This parenthesis closes nothing.")
        if token.kind != "end":
            self.unexpected("Expected `and`, `or` or the end.")
        return condition

    def either(self) -> Condition:
        parts = [self.all()]
        while self.took("or"):
            parts.append(self.all())
        return parts[0] if len(parts) == 1 else Or(tuple(parts))

    def all(self) -> Condition:
        parts = [self.one()]
        while self.took("and"):
            parts.append(self.one())
        return parts[0] if len(parts) == 1 else And(tuple(parts))

    def one(self) -> Condition:
        opening = self.now
        if opening.keyword not in ("not", "("):
            return self.test()
        self.depth += 1
        if self.depth > MAX_DEPTH:
            self.fail(opening.start, f"It is nested too deeply: at most {MAX_DEPTH} levels are allowed.")
        self.take()
        if opening.keyword == "not":
            condition: Condition = Not(self.one())
        else:
            condition = self.either()
            if not self.took(")"):
                if self.now.kind == "end":
                    self.fail(opening.start, "This parenthesis is not closed.")
                self.unexpected("Expected `and`, `or` or a closing parenthesis.")
        self.depth -= 1
        return condition

    def test(self) -> Condition:
        """A comparison, a membership, a test for null, or a true/false column."""
        start = self.now.start
        left = self.operand()
        if self.now.kind == "op":
            op = self.take().text
            right = self.operand()
            if isinstance(left, Literal) and isinstance(right, Literal):
                self.fail(start, "Two values are compared, no column: a column is a bare word or in `backticks`.")
            return Compare(left, _CANONICAL.get(op, op), right)
        for words, negated in ((("not", "in"), True), (("in",), False)):
            if self.took(*words):
                found = In(self.left_column(left, start, "in"), self.options())
                return Not(found) if negated else found
        if self.took("is"):
            negated = self.took("not")
            if not self.took("null"):
                self.unexpected("After `is` comes `null` or `not null`; compare other values with `=`.")
            test = IsNull(self.left_column(left, start, "is null"))
            return Not(test) if negated else test
        if isinstance(left, Literal) and left.family != "boolean":
            self.fail(start, "A value alone is no condition: a column is a bare word or in `backticks`.")
        if self.now.kind in ("word", "number", "text", "column") and not self.now.keyword:
            self.after_operand(left)
        return left

    def left_column(self, left: Column | Literal, start: int, word: str) -> Column:
        if isinstance(left, Literal):
            self.fail(start, f"`{word}` asks about a column: a column is a bare word or in `backticks`.")
        return left

    def options(self) -> tuple[Literal, ...]:
        if not self.took("("):
            self.unexpected("After `in` comes a list of values in parentheses: in (1, 2).")
        options: list[Literal] = []
        while not self.took(")"):
            if options and not self.took(","):
                self.unexpected("Expected a comma or a closing parenthesis.")
            start = self.now.start
            option = self.operand()
            if isinstance(option, Column):
                self.fail(start, f"A list holds values, not columns: quote the text {option.name!r}.")
            if options and option.family != options[0].family:
                self.fail(start, f"A list holds values of one type: {options[0].family} and {option.family} are mixed.")
            options.append(option)
        if not options:
            self.fail(self.now.start - 1, "The list is empty.")
        return tuple(options)

    def operand(self) -> Column | Literal:
        token = self.now
        if token.keyword in ("true", "false"):
            return Literal(self.take().keyword == "true")
        if token.keyword == "null":
            self.fail(token.start, "Nothing equals null: write `is null` or `is not null`.")
        if token.keyword or token.kind in ("op", "end"):
            self.unexpected("Expected a column or a value.")
        self.take()
        if token.kind == "word":
            if self.now.keyword == "(":
                self.fail(token.start, "There are no functions.")
            return Column(token.text)
        if token.kind == "column":
            return Column(token.text[1:-1].replace("``", "`"))
        if token.kind == "text":
            return Literal(self.unquoted(token))
        whole = token.text.lstrip("+-").isdecimal()
        if whole and len(token.text) > 40:
            self.fail(token.start, f"The whole number has {len(token.text)} digits: quote it if it is text.")
        try:
            return Literal(int(token.text) if whole else float(token.text))
        except PlanError as error:
            self.fail(token.start, f"{error}")

    def unquoted(self, token: _Token) -> str:
        quote, inside, at, characters = token.text[0], token.text[1:-1], 0, []
        while at < len(inside):
            character = inside[at]
            at += character in ("\\", quote)
            if character == "\\":
                if inside[at] not in _UNESCAPED:
                    self.fail(token.start + at, "A backslash stands before a quote, a backslash, n, r or t: double it.")
                character = _UNESCAPED[inside[at]]
            characters.append(character)
            at += 1
        return "".join(characters)

    def after_operand(self, left: Column | Literal) -> NoReturn:
        token = self.now
        if token.kind == "word":
            name = shorten(left.to_text(), 40)
            known = "There are = != < <= > >=, in (..), not in (..), is null and is not null."
            hint = _HINTS.get(token.text.casefold(), known).format(name)
            self.fail(token.start, f"{shorten(repr(token.text), 40)} is not an operator. {hint}")
        self.unexpected("Expected an operator such as = or >=, `in`, `is null`, `and` or `or`.")

    def unexpected(self, expected: str) -> NoReturn:
        token = self.now
        if token.kind == "number" and self.tokens[self.position - 1].kind == "number":
            self.fail(token.start, "There is no arithmetic, and dates are written in quotes: '2026-01-31'.")
        found = "it ends" if token.kind == "end" else f"found {shorten(repr(token.text), 40)}"
        self.fail(token.start, f"{expected[:-1]}, but {found}.")
