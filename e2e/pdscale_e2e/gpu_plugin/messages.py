"""The device plugin API's messages, described at run time.

Only what this plugin sends and reads is described. Protobuf skips fields that it does not know, so a
kubelet with more fields is understood. Generated stubs would need a compiler and be longer than this.
Maps are written as what they are on the wire: a repeated message of key and value.
"""

from collections.abc import Mapping
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PACKAGE: Final = "v1beta1"
_Field: Final = descriptor_pb2.FieldDescriptorProto

# Field: number and type; a type in brackets is repeated, one that is not a scalar is another message.
_MESSAGES: Final[Mapping[str, Mapping[str, tuple[int, str]]]] = {
    "Empty": {},
    "DevicePluginOptions": {
        "pre_start_required": (1, "bool"),
        "get_preferred_allocation_available": (2, "bool"),
    },
    "RegisterRequest": {
        "version": (1, "string"),
        "endpoint": (2, "string"),
        "resource_name": (3, "string"),
        "options": (4, "DevicePluginOptions"),
    },
    "Device": {"ID": (1, "string"), "health": (2, "string")},
    "ListAndWatchResponse": {"devices": (1, "[Device]")},
    "ContainerAllocateRequest": {"devices_ids": (1, "[string]")},
    "AllocateRequest": {"container_requests": (1, "[ContainerAllocateRequest]")},
    "Variable": {"key": (1, "string"), "value": (2, "string")},
    "ContainerAllocateResponse": {"envs": (1, "[Variable]")},
    "AllocateResponse": {"container_responses": (1, "[ContainerAllocateResponse]")},
}
_SCALARS: Final = {"bool": _Field.TYPE_BOOL, "string": _Field.TYPE_STRING}


def _field(name: str, number: int, kind: str) -> Any:
    inner = kind.strip("[]")
    label = _Field.LABEL_OPTIONAL if inner == kind else _Field.LABEL_REPEATED
    if inner in _SCALARS:
        return _Field(name=name, number=number, label=label, type=_SCALARS[inner])
    typed = {"type": _Field.TYPE_MESSAGE, "type_name": f".{PACKAGE}.{inner}"}
    return _Field(name=name, number=number, label=label, **typed)


def _pool() -> Any:
    file = descriptor_pb2.FileDescriptorProto(
        name="pdscale_e2e/device_plugin.proto", package=PACKAGE, syntax="proto3"
    )
    for message, fields in _MESSAGES.items():
        described = (_field(name, number, kind) for name, (number, kind) in fields.items())
        file.message_type.add(name=message).field.extend(described)
    # A pool of its own: another library in the process may describe the same package.
    pool: Any = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return pool


_POOL: Final = _pool()


def _class(message: str) -> Any:
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"{PACKAGE}.{message}"))


Empty: Final = _class("Empty")
DevicePluginOptions: Final = _class("DevicePluginOptions")
RegisterRequest: Final = _class("RegisterRequest")
ListAndWatchResponse: Final = _class("ListAndWatchResponse")
AllocateRequest: Final = _class("AllocateRequest")
AllocateResponse: Final = _class("AllocateResponse")
