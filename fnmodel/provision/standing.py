"""A stack as CloudFormation made it last; reads only."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fnmodel.aws import translated
from fnmodel.provision.resolve import Place, Resource, resolve
from fnmodel.provision.stack import Stack, summaries
from fnmodel.provision.template import read


@dataclass(frozen=True)
class Standing:
    """A stack with its template, parameters and tags, and the physical ids by logical id."""

    id: str
    template: Mapping[str, Any]
    parameters: Mapping[str, str]
    tags: Mapping[str, str]
    physical: Mapping[str, str]

    @property
    def resources(self) -> dict[str, Resource]:
        """The resources as they should stand, with real names."""
        place = Place.of(self.id)
        return resolve(self.template, self.parameters, place=place, physical=self.physical)

    @property
    def asked(self) -> dict[str, Resource]:
        """The resources as the template asks for them, with marks for references."""
        return resolve(self.template, self.parameters)


def standing(client: Any, stack: Stack) -> Standing:
    """Read what a stack consists of.

    Raises:
        AwsError: CloudFormation refused.

    """
    with translated():
        answer = client.get_template(StackName=stack.id, TemplateStage="Original")
        physical = {
            one["LogicalResourceId"]: one["PhysicalResourceId"]
            for one in summaries(client, stack.id)
            if one.get("PhysicalResourceId") and one["ResourceStatus"] != "DELETE_COMPLETE"
        }
    body = answer["TemplateBody"]
    # boto3 reads JSON itself; a template that was changed by hand may be YAML.
    template = read(body) if isinstance(body, str) else body
    return Standing(stack.id, template, stack.parameters, stack.tags, physical)
