"""Methods' descriptions and prices to messages and back."""

from verifier.catalogue import MethodInfo, Price
from verifier.certificate import Grade
from verifier.problem import Norm
from verifier.v1 import certificate_pb2, certification_pb2, methods_pb2
from verifier.wire.enums import from_enum, to_enum


def to_price(price: Price) -> certification_pb2.Price:
    """A price as a message."""
    return certification_pb2.Price(
        forward_passes=price.forward_passes,
        largest_radius=price.largest_radius,
        seconds=price.seconds,
        warnings=price.warnings,
        expected_passes=price.expected_passes,
    )


def from_price(message: certification_pb2.Price) -> Price:
    """A price from a message."""
    seconds = message.seconds if message.HasField("seconds") else None
    expected = message.expected_passes if message.HasField("expected_passes") else None
    return Price(message.forward_passes, message.largest_radius, seconds, tuple(message.warnings), expected)


def to_method_info(info: MethodInfo) -> certification_pb2.MethodInfo:
    """A method's description as a message."""
    return certification_pb2.MethodInfo(
        name=info.name,
        summary=info.summary,
        norms=[to_enum(methods_pb2.Norm, "NORM", norm) for norm in info.norms],
        grade=to_enum(certificate_pb2.GuaranteeGrade, "GUARANTEE_GRADE", info.grade),
        guarantee=info.guarantee,
        parameters=[
            certification_pb2.MethodParameter(name=name, description=text) for name, text in info.parameters.items()
        ],
    )


def from_method_info(message: certification_pb2.MethodInfo) -> MethodInfo:
    """A method's description from a message."""
    return MethodInfo(
        name=message.name,
        summary=message.summary,
        norms=tuple(from_enum(methods_pb2.Norm, "NORM", norm, Norm, "norms") for norm in message.norms),
        grade=from_enum(certificate_pb2.GuaranteeGrade, "GUARANTEE_GRADE", message.grade, Grade, "grade"),
        guarantee=message.guarantee,
        parameters={item.name: item.description for item in message.parameters},
    )
