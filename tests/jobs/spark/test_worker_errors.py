"""Tests of the form in which the pinned pyspark reports an error of a Python worker."""

import json

import pytest
from pyspark.errors import PythonException

from jobs.spark.worker_errors import is_worker_error, summarise_failure
from jobs.stages.pull import CatalogChangedError


def run_task(spark, task) -> PythonException:
    with pytest.raises(PythonException) as caught:
        spark.range(1).mapInArrow(task, "id long").collect()
    return caught.value


def raise_with_cause(batches):
    yield from batches
    try:
        json.loads("{")
    except ValueError as error:
        raise CatalogChangedError("file:///a, in\ntwo lines") from error


def mention_in_message(batches):
    yield from batches
    raise ValueError("jobs.stages.pull.CatalogChangedError: file:///a")


def raise_other_after_it(batches):
    yield from batches
    try:
        raise CatalogChangedError("file:///a")
    except CatalogChangedError:
        raise KeyError("jobs.stages.pull.CatalogChangedError") from None


def test_the_class_of_the_raised_exception_is_recognised(spark):
    error = run_task(spark, raise_with_cause)
    assert error.getCondition() == "PYTHON_EXCEPTION"
    assert is_worker_error(error, CatalogChangedError)
    assert not is_worker_error(error, RuntimeError)  # its base class
    assert not is_worker_error(error, json.JSONDecodeError)  # its cause


@pytest.mark.parametrize("task", [mention_in_message, raise_other_after_it])
def test_a_name_in_another_exceptions_message_is_not(spark, task):
    assert not is_worker_error(run_task(spark, task), CatalogChangedError)


def test_the_summary_of_a_failed_task_has_no_traceback(spark):
    assert summarise_failure(run_task(spark, mention_in_message)).startswith("ValueError: jobs.stages.pull")
    assert summarise_failure(KeyError("id")) == "KeyError: 'id'"
    assert summarise_failure(OSError("first\n \x1b[31msecond\x1b[0m")) == "OSError: first second"
