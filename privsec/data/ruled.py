"""Files of your own that are held against a schema before anything is made of them."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from privsec.core.data import Dataset, Step
from privsec.core.errors import ConfigError
from privsec.data.base import FileSource

with warnings.catch_warnings():  # pydantic keeps a method of this name, deprecated, which nobody calls on a Spec
    warnings.filterwarnings("ignore", message='Field name "schema"', category=UserWarning)

    class RuledSource(FileSource):
        """Base of data sets in a file that a schema can be enforced on."""

        unhashed: ClassVar[frozenset[str]] = FileSource.unhashed | {"schema"}  # what keeps its rules stays what it is

        schema: str | None = None  # type: ignore[assignment]
        """A YAML file with rules that the file has to keep, relative to the current directory, as `privsec data schema`
        writes it. A file that breaks one is refused. None asks for nothing."""

        def load(self) -> Dataset:
            """The data set, as `Source.load` gives it, of a file that keeps every rule of the schema.

            Raises:
                DataError: also where the file breaks a rule; the text names file, rules and records.
                ConfigError: there is no such schema, it is wrong or of another kind, or pandera is not installed.
            """
            kept = self._enforced()
            data = super().load()
            return data if kept is None else replace(data, steps=(kept, *data.steps))

        @property
        def fingerprint(self) -> str:
            """The digest of the file, which keeps its rules: a finished run, too, is given out for such a file only."""
            self._enforced()
            return super().fingerprint

        def _enforced(self) -> Step | None:
            """What the lineage says of the schema; None without one."""
            if self.schema is None:
                return None
            from privsec.schema.files import enforce

            wanted = Path(self.schema).expanduser()
            try:
                kept = enforce(self.locate(), wanted, **self.form)
            except ConfigError as error:
                raise ConfigError(f"{self.title}: cannot enforce `schema: {self.schema}`: {error}") from None
            return Step("schema", kept.records, f"keeps every rule of {self.schema}, digest {kept.schema_digest}")

        @property
        def form(self) -> dict[str, str]:
            """How the file is read, as `schema.files.enforce` takes it."""
            return {}
