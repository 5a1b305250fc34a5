"""The agreement of a contract: the schema of the latest version, which a source must fit.

``columns`` and ``types`` of the contract decide what happens to a column or a type that differs from it.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from millrace.arrow import widest_type
from millrace.errors import SourceTypeError, UsageError
from millrace.names import listed_columns
from millrace.sources.fitting import is_comparable
from millrace.sources.options import SourceOptions
from millrace.sources.row_rules import BadRowBudget, Contract, Reaction, RowRules
from millrace.sources.warnings import SourceWarning, distinct


@dataclass(frozen=True, slots=True)
class Agreement:
    """The schema that a source must fit, the contract, and the version (``reference``) that has the schema.

    The schema of a first load has no columns. Then every column is new and is added, whatever the contract is.
    """

    schema: pa.Schema
    contract: Contract
    reference: str

    @property
    def columns(self) -> Reaction:
        """Return the reaction to new columns; those of a first load evolve."""
        return Reaction(self.contract.columns) if self.schema.names else Reaction.EVOLVE

    @property
    def types(self) -> Reaction:
        """Return the reaction to other types; those of a first load evolve."""
        return Reaction(self.contract.types) if self.schema.names else Reaction.EVOLVE

    def rules(self, budget: BadRowBudget) -> RowRules:
        """Return the rules for rows of a load with this budget for bad rows."""
        return RowRules(budget, self.types, self.columns)

    def before_rename(self, options: SourceOptions) -> Agreement:
        """Return the agreement with the names that the columns have in the source."""
        old = {new: name for name, new in options.rename}
        return replace(
            self, schema=pa.schema([field.with_name(old.get(field.name, field.name)) for field in self.schema])
        )

    def planned_columns(self, names: Iterable[str], owner: str) -> tuple[str, ...]:
        """Return the columns of the plan: the agreed ones in their order, then new ones if columns evolve.

        ``names`` are the columns of the source that are read. Raises ``SourceTypeError`` for a new one if columns
        freeze; ``owner`` names the source.
        """
        new = self.new_columns(names)
        if new and self.columns is Reaction.FREEZE:
            raise SourceTypeError(
                f"{owner} has {listed_columns(new)}, which {self.reference} does not have, "
                "and the contract freezes its columns",
                hint="write the files without new columns, or change the contract: with columns: evolve they are "
                "added, with columns: discard_value they are left out",
                column=new[0],
                expected=self.schema.names,
                actual=new,
            )
        return (*self.schema.names, *(new if self.columns is Reaction.EVOLVE else ()))

    def new_columns(self, names: Iterable[str]) -> tuple[str, ...]:
        """Return the columns that the latest version does not have."""
        agreed = set(self.schema.names)
        return tuple(name for name in names if name not in agreed)

    def missing(self, names: Iterable[str]) -> tuple[str, ...]:
        """Return the agreed columns that are not among these."""
        has = set(names)
        return tuple(name for name in self.schema.names if name not in has)

    def check_selection(self, options: SourceOptions) -> None:
        """Raise ``UsageError`` if the option ``columns`` leaves out an agreed column."""
        selected = options.columns
        left_out = [name for name in self.schema.names if selected is not None and name not in selected]
        if left_out:
            raise UsageError(
                f"the option columns leaves out {left_out[0]!r}, which {self.reference} has",
                hint="name it, too; a contract never removes a column",
                column=left_out[0],
            )

    def widened(self, name: str, types: Sequence[pa.DataType], owner: str) -> pa.DataType:
        """Return the type of a column whose types in the source are ``types``, after the contract's reaction.

        If types evolve and no type holds the values of all of them, it is the agreed type, and each value is judged.
        Raises ``SourceTypeError`` if the values of one of them are never values of the agreed type.
        """
        agreed = self.schema.field(name).type
        if self.types is not Reaction.EVOLVE:
            return agreed
        if (kind := widest_type([agreed, *types])) is not None:
            return kind
        if other := next((kind for kind in types if not is_comparable(kind, agreed)), None):
            raise self.type_error(name, other, owner)
        return agreed

    def type_error(self, name: str, kind: pa.DataType, owner: str) -> SourceTypeError:
        """Return the error for a type to which a column cannot change."""
        agreed = self.schema.field(name).type
        return SourceTypeError(
            f"{owner}: column {name!r} is {kind}, and {agreed} in {self.reference}",
            hint=f"write it as {agreed}; with the contract types: discard_row or discard_value, rows or values that "
            "do not fit are set aside",
            column=name,
            expected=str(agreed),
            actual=str(kind),
        )

    def given(self, types: dict[str, pa.DataType]) -> dict[str, pa.DataType]:
        """Return the types of the options ``column_types`` and ``schema_file``, after the contract's reaction.

        Raises ``SourceTypeError`` for one to which its column cannot change.
        """
        agreed = set(self.schema.names)
        return {name: self._given(name, kind) if name in agreed else kind for name, kind in types.items()}

    def _given(self, name: str, kind: pa.DataType) -> pa.DataType:
        owner = "the option column_types or schema_file"
        agreed = self.schema.field(name).type
        if kind != agreed and self.types is not Reaction.EVOLVE:
            error = self.type_error(name, kind, owner)
            error.hint = "leave it out, or change the contract: with types: evolve a type may become wider"
            raise error
        return self.widened(name, [kind], owner)

    def nullable(self, name: str, *, may_be_null: bool, owner: str, is_missing: bool = False) -> bool:
        """Return whether a column may have nulls, after the contract's reaction.

        Raises ``SourceTypeError`` for a column that may not be null and that a file lacks.
        """
        if name not in self.schema.names:
            return may_be_null or bool(self.schema.names)
        if self.schema.field(name).nullable or not may_be_null:
            return bool(self.schema.field(name).nullable)
        if self.types in (Reaction.EVOLVE, Reaction.DISCARD_VALUE):
            return True
        if is_missing:
            raise SourceTypeError(
                f"{owner} has no column {name!r}, which may not be null in {self.reference}",
                hint="write the column, or change the contract: with types: evolve it may be null",
                column=name,
            )
        return False

    def warnings(
        self, columns: Iterable[tuple[str, Iterable[str]]], selected: Container[str] | None
    ) -> tuple[SourceWarning, ...]:
        """Return warnings for missing columns and for new ones that the plan leaves out.

        ``columns`` has the name and the columns of each file, of which the ``selected`` ones are read (None: all). A
        column is named once, with the first such file.
        """
        missing: dict[str, list[str]] = {}
        new: dict[str, str] = {}
        for file, names in columns:
            for name in self.missing(names):
                missing.setdefault(name, []).append(file)
            if self.columns is not Reaction.EVOLVE:
                read = (name for name in names if selected is None or name in selected)
                new |= {name: file for name in self.new_columns(read) if name not in new}
        return distinct(
            [
                *(self._missing(name, files) for name, files in missing.items()),
                *(self._left_out(name, file) for name, file in new.items()),
            ]
        )

    def _missing(self, name: str, files: Sequence[str]) -> SourceWarning:
        others = f" and {len(files) - 1:,} other files" if len(files) > 1 else ""
        message = f"{files[0]}{others} without column {name!r}, which {self.reference} has: it is null there"
        return SourceWarning("missing_column", message, column=name)

    def _left_out(self, name: str, file: str) -> SourceWarning:
        drops = self.columns is Reaction.DISCARD_ROW
        effect = "rows with a value in it are dropped" if drops else "it is left out"
        message = f"{file} has column {name!r}, which {self.reference} does not have: by the contract {effect}"
        return SourceWarning("new_column", message, column=name)
