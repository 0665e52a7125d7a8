"""Tests of the shared parameters: schema, description, and the options that they become."""

import jinja2
import jsonschema
import pytest

from dags.params import SHARED, build_option_templates


@pytest.mark.parametrize("name", SHARED)
def test_every_parameter_has_a_valid_schema_and_a_description(name):
    param = SHARED[name]
    jsonschema.Draft202012Validator.check_schema(param.schema)
    assert len(param.description) > 20
    param.resolve()


@pytest.mark.parametrize(("value", "text"), [(None, ""), (0, "0"), (0.25, "0.25"), ("a b", "a b")])
def test_a_parameter_becomes_an_option(value, text):
    ((option, template),) = build_option_templates(["allow_deletes"]).items()
    assert option == "allow-deletes"
    assert jinja2.Template(template).render(params={"allow_deletes": value}) == text
