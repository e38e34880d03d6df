"""What node classes say about themselves: their inputs in order, which of them are widgets, what they return."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .primitives import PRIMITIVES
from .stand_ins import STAND_INS

# The types that ComfyUI's page draws as a widget (1.27: `ComfyWidgets`); every other type is a socket only.
WIDGET_TYPES = frozenset(
    {"INT", "FLOAT", "BOOLEAN", "STRING", "COMBO", "MARKDOWN", "COLOR", "TEXTAREA", "MULTISELECT", "SELECTBUTTON"}
)
# The page adds a "control after generate" widget to INTs of these names, even without the option.
SEED_NAMES = frozenset({"seed", "noise_seed"})


@dataclass(frozen=True)
class Input:
    """One entry of a class's INPUT_TYPES.

    Attributes:
        type: "INT", "MODEL", ...; "COMBO" for a list of choices.
        choices: the values of a COMBO, else None.
    """

    name: str
    type: str
    options: Mapping[str, Any]
    choices: tuple[Any, ...] | None
    is_required: bool

    @property
    def is_forced(self) -> bool:
        """Declared to be a socket although its type has a widget."""
        return bool(self.options.get("forceInput") or (not self.is_required and self.options.get("defaultInput")))

    @property
    def is_widget(self) -> bool:
        return self.options.get("widgetType", self.type) in WIDGET_TYPES and not self.is_forced

    @property
    def controls(self) -> tuple[tuple[str, str], ...]:
        """Widgets the page puts behind this one, (name, default); they are saved with the workflow but never sent."""
        control = self.options.get("control_after_generate")
        if self.type == "INT" and (self.name in SEED_NAMES if control is None else control):
            return (("control_after_generate", "randomize"),)
        if self.type == "COMBO" and control:
            return (("control_after_generate", "randomize"), ("control_filter_list", ""))
        return ()

    @property
    def default(self) -> Any:
        """The value a new node shows."""
        if "default" in self.options:
            return self.options["default"]
        if self.choices is not None:
            return self.choices[0] if self.choices else None
        return {"INT": 0, "FLOAT": 0, "BOOLEAN": False}.get(self.type, "")


@dataclass
class Catalog:
    """Node classes by id, core's plain value nodes and stand-ins included, each asked for its inputs once."""

    classes: Mapping[str, Any]
    titles: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.classes = {**PRIMITIVES, **STAND_INS, **self.classes}
        self._inputs: dict[str, dict[str, Input]] = {}

    def __contains__(self, class_type: str) -> bool:
        return class_type in self.classes

    def inputs(self, class_type: str) -> dict[str, Input]:
        """Inputs by name, required before optional, hidden ones left out: the order of the page's widgets."""
        if class_type not in self._inputs:
            declared = self.classes[class_type].INPUT_TYPES()
            self._inputs[class_type] = {
                name: _input(name, spec, kind == "required")
                for kind in ("required", "optional")
                for name, spec in declared.get(kind, {}).items()
            }
        return self._inputs[class_type]

    def hidden(self, class_type: str) -> dict[str, str]:
        """Hidden inputs: name -> what is wanted, for example "PROMPT"."""
        return dict(self.classes[class_type].INPUT_TYPES().get("hidden", {}))

    def returns(self, class_type: str) -> tuple[str, ...]:
        """The types of the outputs ("COMBO" for a list of choices)."""
        return tuple(type_name(kind) for kind in getattr(self.classes[class_type], "RETURN_TYPES", ()))

    def is_output(self, class_type: str) -> bool:
        return bool(getattr(self.classes[class_type], "OUTPUT_NODE", False))

    def title(self, class_type: str) -> str:
        """What the page writes on a node that the user has not renamed."""
        return self.titles.get(class_type) or getattr(self.classes.get(class_type), "TITLE", class_type)


def type_name(kind: object) -> str:
    """A type as one word; V1 classes write a COMBO as the list of its choices.

    >>> type_name("MODEL"), type_name(["a", "b"])
    ('MODEL', 'COMBO')
    """
    return "COMBO" if isinstance(kind, (list, tuple)) else str(kind)


def types_fit(output_type: str, input_type: str) -> bool:
    """Whether an output may feed an input: equal, any ("*"), or with one type in common ("INT,FLOAT").

    >>> types_fit("INT", "FLOAT"), types_fit("INT", "INT,FLOAT"), types_fit("*", "MODEL")
    (False, True, True)
    """
    if output_type in ("*", "", "0") or input_type in ("*", "", "0") or output_type == input_type:
        return True
    return bool(
        {part.strip().lower() for part in output_type.split(",")}
        & {part.strip().lower() for part in input_type.split(",")}
    )


def _input(name: str, spec: Any, is_required: bool) -> Input:
    kind, *rest = spec
    options = rest[0] if rest else {}
    choices = kind if isinstance(kind, (list, tuple)) else options.get("options") if kind == "COMBO" else None
    return Input(name, type_name(kind), options, None if choices is None else tuple(choices), is_required)
