"""Resource names: projects/{project}/models/{alias or digest}, and of data sets, jobs and gate runs alike."""

import re

from verifier.errors import InvalidProblem, NotFound

PROJECT = "default"
"""The one project of today; names carry it so that tenants can come without breaking anyone."""

_NAME = re.compile(r"projects/([a-z0-9-]+)/([A-Za-z]+)/([^/]+)")

_NOUNS = {"models": "model", "datasets": "data set", "jobs": "job", "gateRuns": "gate run"}
"""Collection -> what its members are called."""
_PROJECT = re.compile(r"projects/([a-z0-9-]+)")


def model_name(alias_or_digest: str) -> str:
    """The resource name of a model."""
    return f"projects/{PROJECT}/models/{alias_or_digest}"


def project_name() -> str:
    """The resource name of the project."""
    return f"projects/{PROJECT}"


def parse_model_name(name: str, field: str = "name") -> str:
    """The alias or digest of a model's resource name.

    Raises:
        InvalidProblem: the name has another form.
        NotFound: there is no such project.
    """
    return parse_name("models", name, field)


def resource_name(collection: str, member: str) -> str:
    """The resource name of a member of a collection: "datasets", "jobs", "gateRuns"."""
    return f"projects/{PROJECT}/{collection}/{member}"


def parse_name(collection: str, name: str, field: str = "name") -> str:
    """The member that a resource name of this collection names; errors as in `parse_model_name`."""
    match = _NAME.fullmatch(name)
    if match is None or match[2] != collection:
        noun = _NOUNS[collection]
        raise InvalidProblem(
            f"a {noun} is named projects/{{project}}/{collection}/{{{noun}}}, got {name!r}", field=field
        )
    _check_project(match[1])
    return match[3]


def parse_project_name(name: str, field: str = "parent") -> None:
    """Check a project's resource name; errors as in `parse_model_name`."""
    match = _PROJECT.fullmatch(name)
    if match is None:
        raise InvalidProblem(f"a project is named projects/{{project}}, got {name!r}", field=field)
    _check_project(match[1])


def _check_project(project: str) -> None:
    if project != PROJECT:
        raise NotFound(f"there is no project {project!r}; this server has one, {PROJECT!r}")
