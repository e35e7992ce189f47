"""YAML files that people write, read node by node: every refusal names the file and the line."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from redline.errors import RedlineError


@dataclass(frozen=True)
class Lines:
    """Reads the nodes of one file.

    Attributes:
        path: the file.
        told: what a person calls it.
        kind: of error that a refusal is.
    """

    path: Path
    told: str
    kind: type[RedlineError]

    def root(self) -> yaml.Node | None:
        """The file's outermost node, None where it is empty.

        Raises:
            RedlineError: of `kind`; it cannot be read, or is not YAML in UTF-8.
        """
        try:
            return yaml.compose(self.path.read_text(encoding="utf-8"), yaml.SafeLoader)
        except OSError as error:
            what, todo = f"cannot be read: {error.strerror}", "name a readable file"
            raise self.kind(f"{self.told} {what}", str(self.path), todo) from error
        # Without their causes, which quote what stands there: it may be a secret.
        except UnicodeDecodeError:
            todo = "save the file as UTF-8"
            raise self.kind(f"{self.told} is not UTF-8", str(self.path), todo) from None
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            line = f", line {mark.line + 1}" if mark else ""
            raise self.kind(
                f"{self.told} is not YAML", f"{self.path}{line}", "mend the file"
            ) from None

    def where(self, node: yaml.Node | None) -> str:
        """The place of a node."""
        return f"{self.path}, line {node.start_mark.line + 1}" if node else str(self.path)

    def fail(self, node: yaml.Node | None, what: str, todo: str) -> RedlineError:
        """The refusal of a node."""
        return self.kind(what, self.where(node), todo)

    def items(
        self, node: yaml.Node | None, told: str, known: Collection[str] | None
    ) -> Iterator[tuple[str, yaml.Node]]:
        """The names and values of a mapping, each name once and among the known; None: any."""
        if not isinstance(node, yaml.MappingNode):
            raise self.fail(node, f"{told} is not a list of names and values", "write name: value")
        seen: set[str] = set()
        for key, value in node.value:
            name = str(key.value)
            if known is not None and name not in known:
                raise self.fail(
                    key, f"'{name}' means nothing in {told}", f"known are {', '.join(known)}"
                )
            if name in seen:
                raise self.fail(key, f"'{name}' stands twice in {told}", "keep one of them")
            seen.add(name)
            yield name, value

    def text(self, node: yaml.Node, told: str) -> str:
        """A single value, as text without blanks around it."""
        if not isinstance(node, yaml.ScalarNode) or not node.value.strip():
            raise self.fail(node, f"{told} is not a text", "write one value")
        return str(node.value).strip()
