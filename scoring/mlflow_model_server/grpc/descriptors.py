"""Makes protobuf's messages from tables, when they are imported.

Code that protoc generates runs with few versions of protobuf only, and a model may bring another
one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

# The fields of each message. "Outer.Inner" is within another message, which comes before it.
Messages = Mapping[str, str]
Enums = Mapping[str, Sequence[str]]
# The request and the response of each method, with "stream " before what is a stream.
Methods = Mapping[str, tuple[str, str]]

# A oneof is written at each of its fields, which are next to each other; a map has text for keys.
_FIELD = re.compile(r"(?:(repeated|oneof|map) )?([\w.]{1,99}) (\w{1,99}) = (\d{1,9})")
_STREAM = "stream "
_Proto = descriptor_pb2.FieldDescriptorProto


class ProtoFile:
    """A file of messages, with a service."""

    def __init__(
        self,
        name: str,
        service: str,
        messages: Messages,
        methods: Methods,
        enums: Enums | None = None,
    ) -> None:
        self.name = name
        self.service = service
        self.package, _, service_name = service.rpartition(".")
        self._messages = messages
        self._enums = enums or {}
        self._proto = descriptor_pb2.FileDescriptorProto(
            name=name, package=self.package, syntax="proto3"
        )
        self._made: dict[str, Any] = {}
        for each, fields in messages.items():
            self._add_message(each, fields)
        for each, values in self._enums.items():
            self._add_enum(each, values)
        self._add_service(service_name, methods)
        self.symbols = frozenset(
            (service, *(f"{service}.{method}" for method in methods))
        ) | frozenset(f"{self.package}.{each}" for each in (*messages, *self._enums))
        # Not protobuf's default pool: a client's messages of the same names may be in there.
        self._pool = descriptor_pool.DescriptorPool()
        self._pool.Add(self._proto)

    def serialized(self) -> bytes:
        """The file as a FileDescriptorProto."""
        return bytes(self._proto.SerializeToString())

    def message(self, name: str) -> Any:
        """The class of a message."""
        descriptor = self._pool.FindMessageTypeByName(f"{self.package}.{name}")
        return message_factory.GetMessageClass(descriptor)

    def _add_message(self, name: str, fields: str) -> None:
        outer, _, own = name.rpartition(".")
        siblings = self._made[outer].nested_type if outer else self._proto.message_type
        self._made[name] = message = siblings.add(name=own)
        for label, kind, field, number in _FIELD.findall(fields):
            if label == "map":
                self._add_map(name, kind, field, int(number))
            else:
                self._add_field(message, label, kind, field, int(number))

    def _add_field(self, message: Any, label: str, kind: str, name: str, number: int) -> None:
        repeated = label == "repeated"
        field = message.field.add(
            name=name,
            number=number,
            label=_Proto.LABEL_REPEATED if repeated else _Proto.LABEL_OPTIONAL,
        )
        if kind in self._messages or kind in self._enums:
            field.type_name = self._full_name(kind)
            field.type = _Proto.TYPE_ENUM if kind in self._enums else _Proto.TYPE_MESSAGE
        else:
            field.type = getattr(_Proto, f"TYPE_{kind.upper()}")
        if label == "oneof":
            if not message.oneof_decl:
                message.oneof_decl.add(name="choice")
            field.oneof_index = 0

    def _add_map(self, outer: str, kind: str, name: str, number: int) -> None:
        message = self._made[outer]
        entry = message.nested_type.add(name=f"{name.title().replace('_', '')}Entry")
        entry.options.map_entry = True
        self._add_field(entry, "", "string", "key", 1)
        self._add_field(entry, "", kind, "value", 2)
        message.field.add(
            name=name,
            number=number,
            label=_Proto.LABEL_REPEATED,
            type=_Proto.TYPE_MESSAGE,
            type_name=self._full_name(f"{outer}.{entry.name}"),
        )

    def _add_enum(self, name: str, values: Sequence[str]) -> None:
        outer, _, own = name.rpartition(".")
        enum = self._made[outer].enum_type.add(name=own)
        for number, value in enumerate(values):
            enum.value.add(name=value, number=number)

    def _add_service(self, name: str, methods: Methods) -> None:
        service = self._proto.service.add(name=name)
        for method, (request, response) in methods.items():
            service.method.add(
                name=method,
                input_type=self._full_name(request.removeprefix(_STREAM)),
                output_type=self._full_name(response.removeprefix(_STREAM)),
                client_streaming=request.startswith(_STREAM),
                server_streaming=response.startswith(_STREAM),
            )

    def _full_name(self, name: str) -> str:
        return f".{self.package}.{name}"
