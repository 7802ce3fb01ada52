"""What docstrings of this project say, in the words that mkdocstrings understands."""

import logging
import re
from typing import Any

import griffe

# Two or more arguments that are told of together.
_TOGETHER = re.compile(r"^( {4})([\w*]+(?:, [\w*]+)+): (.*(?:\n {8}.*)*)", re.MULTILINE)
_SESSION = re.compile(r"^( *)>>> .*(?:\n\1\S.*|\n\1 +\S.*)*", re.MULTILINE)

# Marks of Sphinx, which would be shown as they are; and quotes of code are pairs.
_SPHINX = re.compile(r":\w+:`|^ *\.\. [\w-]+::", re.MULTILINE)


def unreadable(text: str) -> bool:
    """Whether a docstring has marks that are not rendered."""
    return bool(_SPHINX.search(text)) or text.count("``") % 2 == 1


def readable(text: str) -> str:
    """A docstring with an entry for every argument and its sessions as code."""

    def apart(found: re.Match[str]) -> str:
        indent, names, what = found.groups()
        return "\n".join(f"{indent}{name}: {what}" for name in names.split(", "))

    def fenced(found: re.Match[str]) -> str:
        indent = found[1]
        return f"{indent}```pycon\n{found[0]}\n{indent}```"

    return _SESSION.sub(fenced, _TOGETHER.sub(apart, text))


class Readable(griffe.Extension):
    """Makes every docstring readable as it is loaded."""

    def on_attribute_instance(self, *, attr: griffe.Attribute, **_: Any) -> None:
        """Take one; of a setting the default is shown, not how it is checked."""
        if isinstance(attr.value, griffe.ExprCall) and str(attr.value.function) == "setting":
            attr.value = attr.value.arguments[0]

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Take one."""
        if obj.docstring is not None:
            if unreadable(obj.docstring.value):
                logging.getLogger("griffe").warning("%s: marks that are not rendered", obj.path)
            obj.docstring.value = readable(obj.docstring.value)
